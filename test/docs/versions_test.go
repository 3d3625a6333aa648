// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/lapse-dev/lapse/test/controlplane"
)

// What the table says of them, hack/versions holds against what ran.
func TestTheTableOfVersionsHasThoseThatAreBuilt(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs", "compatibility.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| (1\\.[0-9.]+) \\| `").FindAllStringSubmatch(string(page), -1)
	named := make([]string, 0, len(rows))
	for _, row := range rows {
		named = append(named, row[1])
	}
	built, err := controlplane.Versions()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(named)
	slices.Sort(built)
	if !slices.Equal(named, built) {
		t.Errorf("the table has %v, and hack/controlplane builds %v", named, built)
	}
}
