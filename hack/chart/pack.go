// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"sigs.k8s.io/yaml"
)

// pack writes the archive of the chart: what is kept in its folder, and what is generated.
// It has no times and no owners, so that the same source makes the same bits.
func pack(chart string, generated map[string][]byte, out string) (path string, err error) {
	files, err := kept(chart)
	if err != nil {
		return "", err
	}
	maps.Copy(files, generated)
	var meta struct{ Name, Version string }
	if err := yaml.Unmarshal(generated["Chart.yaml"], &meta); err != nil {
		return "", err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return "", err
	}
	path = filepath.Join(out, fmt.Sprintf("%s-%s.tgz", meta.Name, meta.Version))
	file, err := os.Create(path)
	if err != nil {
		return "", err
	}
	zipped := gzip.NewWriter(file)
	archive := tar.NewWriter(zipped)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		entry := &tar.Header{Name: meta.Name + "/" + name, Mode: 0o644, Size: int64(len(files[name])), Format: tar.FormatPAX}
		if err := archive.WriteHeader(entry); err != nil {
			return "", errors.Join(err, file.Close())
		}
		if _, err := archive.Write(files[name]); err != nil {
			return "", errors.Join(err, file.Close())
		}
	}
	return path, errors.Join(archive.Close(), zipped.Close(), file.Close())
}

// kept are the files in the folder of the chart but the templates that are generated.
func kept(chart string) (map[string][]byte, error) {
	files := map[string][]byte{}
	err := filepath.WalkDir(chart, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(chart, path)
		if err != nil || filepath.Dir(name) == "templates" && filepath.Ext(name) == ".yaml" {
			return err
		}
		files[filepath.ToSlash(name)], err = os.ReadFile(path)
		return err
	})
	return files, err
}
