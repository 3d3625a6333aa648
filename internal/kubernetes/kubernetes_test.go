// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"strings"
	"testing"
)

func TestVersions(t *testing.T) {
	for gitVersion, tc := range map[string]struct {
		refused string
		overlay string
	}{
		"v1.30.14":               {"kubernetes v1.30.14 is too old: Lapse needs 1.31 or newer", "config/overlays/without-mutating"},
		"v1.31.0":                {"", "config/overlays/without-mutating"},
		"v1.31.5-eks-8cce635":    {"", "config/overlays/without-mutating"},
		"v1.35.4-gke.1201000":    {"", "config/overlays/without-mutating"},
		"v1.36.0":                {"", "config/default"},
		"v1.37.2+k3s1":           {"", "config/default"},
		"v2.0.0":                 {"", "config/default"},
		"":                       {"cannot be read", "config/overlays/without-mutating"},
		"one that nobody can be": {"cannot be read", "config/overlays/without-mutating"},
	} {
		err := Supported(gitVersion)
		if (err == nil) != (tc.refused == "") || err != nil && !strings.Contains(err.Error(), tc.refused) {
			t.Errorf("%q: %v, want %q", gitVersion, err, tc.refused)
		}
		if got := Overlay(gitVersion); got != tc.overlay {
			t.Errorf("%q: %s, want %s", gitVersion, got, tc.overlay)
		}
	}
}
