// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
)

// writeKrew fills in the manifest for krew.
func (r release) writeKrew(from string) error {
	manifest, err := template.New(filepath.Base(from)).Funcs(template.FuncMap{
		"version": func() string { return r.version },
		"sha256":  func(archive string) (string, error) { return sha256Of(filepath.Join(out, archive)) },
	}).ParseFiles(from)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := manifest.Execute(&text, nil); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "krew-lapse.yaml"), text.Bytes(), 0o644)
}

func sha256Of(path string) (string, error) {
	data, err := os.ReadFile(path)
	return fmt.Sprintf("%x", sha256.Sum256(data)), err
}
