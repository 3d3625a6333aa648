// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// file is one of an archive; the name of a folder ends with a slash.
type file struct {
	name string
	mode int64
	data []byte
}

func writeTar(w io.Writer, files []file, when time.Time) error {
	archive := tar.NewWriter(w)
	for _, f := range files {
		header := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data)), ModTime: when, Format: tar.FormatUSTAR}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := archive.Write(f.data); err != nil {
			return err
		}
	}
	return archive.Close()
}

// filesOf reads a folder, in the order of the names. The mode says whether a file is to be
// run, and no more: the rest is up to the umask of whoever made it.
func filesOf(folder string) ([]file, error) {
	var files []file
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		f := file{mode: 0o644}
		if info.Mode()&0o100 != 0 {
			f.mode = 0o755
		}
		if f.name, err = filepath.Rel(folder, path); err != nil {
			return err
		}
		f.name = filepath.ToSlash(f.name)
		f.data, err = os.ReadFile(path)
		files = append(files, f)
		return err
	})
	return files, err
}

// pack writes a folder into an archive, which is packed if its name ends with .gz.
func pack(folder, path string, when time.Time) error {
	files, err := filesOf(folder)
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	if !strings.HasSuffix(path, ".gz") {
		err = writeTar(&archive, files, when)
	} else {
		zipped := gzip.NewWriter(&archive) // its header has no name and no time
		err = errors.Join(writeTar(zipped, files, when), zipped.Close())
	}
	if err != nil {
		return err
	}
	return os.WriteFile(path, archive.Bytes(), 0o644)
}
