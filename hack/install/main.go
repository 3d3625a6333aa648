// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Command install writes one manifest for each supported way to install Lapse, with all
// that config/ has for it.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/lapse-dev/lapse/hack/kustomized"
)

// ways are the folders that people apply.
var ways = []struct{ folder, file, kubernetes string }{
	{"config/default", "install-default.yaml", "1.36 and newer"},
	{"config/overlays/without-mutating", "install-without-mutating.yaml", "1.31 to 1.35"},
}

func main() {
	image := flag.String("image", "", "The image of the operator; by default the one that config/ names.")
	out := flag.String("out", "dist", "The folder to write to.")
	flag.Parse()
	if err := write(".", *image, *out); err != nil {
		fmt.Fprintln(os.Stderr, "install:", err)
		os.Exit(1)
	}
}

func write(root, image, out string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, way := range ways {
		objects, err := kustomized.Build(filepath.Join(root, way.folder), image)
		if err != nil {
			return err
		}
		text, err := objects.AsYaml()
		if err != nil {
			return fmt.Errorf("writing %s: %w", way.folder, err)
		}
		path := filepath.Join(out, way.file)
		head := fmt.Sprintf("# Lapse, for Kubernetes %s: kubectl apply -f %s\n# This is %s.\n", way.kubernetes, way.file, way.folder)
		if err := os.WriteFile(path, bytes.Join([][]byte{[]byte(head), text}, nil), 0o644); err != nil {
			return err
		}
		fmt.Printf("%s: %d objects, for Kubernetes %s\n", path, objects.Size(), way.kubernetes)
	}
	return nil
}
