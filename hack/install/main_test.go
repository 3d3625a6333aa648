// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEachWayHasAManifest(t *testing.T) {
	out := t.TempDir()
	if err := write("../..", "registry.example.com/lapse:v9", out); err != nil {
		t.Fatal(err)
	}
	for file, stamped := range map[string]bool{"install-default.yaml": true, "install-without-mutating.yaml": false} {
		data, err := os.ReadFile(filepath.Join(out, file))
		if err != nil {
			t.Fatal(err)
		}
		if has := bytes.Contains(data, []byte("kind: MutatingAdmissionPolicy\n")); has != stamped {
			t.Errorf("%s: it has stamps: %t, not %t", file, has, stamped)
		}
		if n := bytes.Count(data, []byte("image: registry.example.com/lapse:v9\n")); n != 2 {
			t.Errorf("%s: the image that was asked for is in it %d times, not for the operator and the reaper", file, n)
		}
		// kubectl applies in this order: nothing may come before its namespace.
		namespace, inside := bytes.Index(data, []byte("kind: Namespace\n")), bytes.Index(data, []byte("namespace: lapse-system\n"))
		if namespace < 0 || namespace > inside {
			t.Errorf("%s: something comes before the namespace that it is in", file)
		}
	}
}

func TestTheManifestsAreAlwaysTheSame(t *testing.T) {
	seen := make([]string, 0, 2)
	for range 2 {
		out := t.TempDir()
		if err := write("../..", "", out); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(out, "install-default.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, string(data))
	}
	if seen[0] != seen[1] {
		t.Error("two runs wrote different manifests")
	}
	if !strings.Contains(seen[0], "image: ghcr.io/lapse-dev/lapse:v0.1.0\n") {
		t.Error("with no image named, it is not that of config/")
	}
}
