// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEachWayIsWhatThePagesHavePeopleType(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	var pages strings.Builder
	for _, page := range []string{"README.md", "docs/install.md"} {
		text, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		pages.Write(text)
	}
	for _, by := range Ways {
		t.Setenv(InstallBy, by)
		way, err := WayFor("v1.36.0")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(way.Install) {
			if line = strings.TrimSpace(line); !strings.Contains(pages.String(), line) {
				t.Errorf("%s: no page has people type %q", by, line)
			}
		}
	}
}

func TestTheWayIsThatOfTheVersion(t *testing.T) {
	for name, tc := range map[string]struct{ by, version, install, says string }{
		"none is named":   {"", "v1.37.2", "kubectl apply -k config/default", ""},
		"an old version":  {"kustomize", "v1.31.13", "kubectl apply -k config/overlays/without-mutating", ""},
		"one file for it": {"file", "v1.35.4", "kubectl apply -f dist/install-without-mutating.yaml", ""},
		"no such way":     {"olm", "v1.37.2", "", `INSTALL_BY is "olm", and has to be one of [kustomize file helm]`},
	} {
		t.Setenv(InstallBy, tc.by)
		way, err := WayFor(tc.version)
		says := ""
		if err != nil {
			says = err.Error()
		}
		if way.Install != tc.install || says != tc.says {
			t.Errorf("%s: %q, %q", name, way.Install, says)
		}
	}
}
