// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"path/filepath"
	"strings"
	"testing"
)

// What lapse-auditor gives by view, whoever holds edit or admin has, too.
func TestNoRoleAggregatesToAdminOrEdit(t *testing.T) {
	manifests, err := filepath.Glob(filepath.Join(root, "config", "*", "*.yaml"))
	if err != nil || len(manifests) < 40 {
		t.Fatalf("only %d manifests: %v", len(manifests), err)
	}
	for _, manifest := range manifests {
		name, err := filepath.Rel(root, manifest)
		if err != nil {
			t.Fatal(err)
		}
		for _, label := range []string{"aggregate-to-admin", "aggregate-to-edit"} {
			if strings.Contains(read(t, name), label) {
				t.Errorf("%s has the label %s", name, label)
			}
		}
	}
}
