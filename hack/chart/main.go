// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Command chart writes the Helm chart from config/, so that nothing is written twice. What
// is not in config/ (NOTES.txt, the helpers, the schema of the values) is kept in
// charts/lapse by hand. With -pack it writes an archive for a release instead.
package main

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const folder = "charts/lapse"

func main() {
	version := flag.String("version", "", "The version; by default that of the image that config/ names.")
	image := flag.String("image", "", "The image of the operator; by default the one that config/ names.")
	out := flag.String("pack", "", "Write an archive into this folder, and no files.")
	flag.Parse()
	if err := run(".", *version, *image, *out); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

func run(root, version, image, out string) error {
	files, err := generate(root, version, image)
	if err != nil {
		return err
	}
	if out == "" {
		return write(filepath.Join(root, folder), files)
	}
	path, err := pack(filepath.Join(root, folder), files, out)
	if err == nil {
		fmt.Println(path)
	}
	return err
}

// write leaves no template behind of what config/ does not have any more.
func write(chart string, files map[string][]byte) error {
	old, err := filepath.Glob(filepath.Join(chart, "templates", "*.yaml"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if _, ok := files["templates/"+filepath.Base(path)]; !ok {
			err = errors.Join(err, os.Remove(path))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(chart, filepath.FromSlash(name))
		err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, files[name], 0o644))
	}
	return err
}

// templateName is the file of a folder of config/: admission/stamps is stamps.yaml.
func templateName(resource string) string {
	return "templates/" + resource[strings.LastIndex(resource, "/")+1:] + ".yaml"
}
