// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Command release makes of binaries what a release of Lapse publishes. The same binaries make
// the same bits: all times are that of SOURCE_DATE_EPOCH, in seconds, and there are no owners.
//
//	release pack FOLDER ARCHIVE                          a .tar.gz
//	release all -version … -commit … -image … BINARY…   the rest, beside what is in dist/release
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const (
	usage = "usage: release pack FOLDER ARCHIVE, or release all -version … -commit … -image … BINARY…"
	out   = "dist/release"
)

func main() {
	if err := run(os.Args[1:], os.Getenv("SOURCE_DATE_EPOCH")); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(args []string, epoch string) error {
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return fmt.Errorf("reading SOURCE_DATE_EPOCH: %w", err)
	}
	when := time.Unix(seconds, 0).UTC()
	switch {
	case len(args) == 3 && args[0] == "pack":
		return pack(args[1], args[2], when)
	case len(args) > 0 && args[0] == "all":
		return all(args[1:], when)
	default:
		return errors.New(usage)
	}
}

// release is what is told of it.
type release struct {
	version, commit string
	image           string // as the manifests name it
	when            time.Time
}

func all(args []string, when time.Time) error {
	r, flags := release{when: when}, flag.NewFlagSet("all", flag.ContinueOnError)
	flags.StringVar(&r.version, "version", "", "The version, with a v.")
	flags.StringVar(&r.commit, "commit", "", "The commit.")
	flags.StringVar(&r.image, "image", "", "The image of the operator, as the manifests name it.")
	if err := flags.Parse(args); err != nil {
		return err
	}
	managers, plugins, err := programs(flags.Args())
	if err != nil {
		return err
	}
	digest, err := r.writeImage(managers, filepath.Join(out, "lapse-image.tar"))
	if err != nil {
		return err
	}
	for name, binaries := range map[string][]binary{"manager": managers, "kubectl-lapse": plugins} {
		if err := r.writeBOM(binaries, filepath.Join(out, name+".cdx.json")); err != nil {
			return err
		}
	}
	if err := r.writeKrew("hack/krew/lapse.yaml"); err != nil {
		return err
	}
	if err := writeSums(); err != nil {
		return err
	}
	fmt.Printf("%s@%s\n", r.image, digest)
	return nil
}

// writeSums writes what sha256sum -c reads.
func writeSums() error {
	files, err := filepath.Glob(filepath.Join(out, "*")) // sorted
	if err != nil {
		return err
	}
	var sums bytes.Buffer
	for _, path := range files {
		sum, err := sha256Of(path)
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%s  %s\n", sum, filepath.Base(path))
	}
	return os.WriteFile(filepath.Join(out, "SHA256SUMS"), sums.Bytes(), 0o644)
}
