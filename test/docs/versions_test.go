// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lapse-dev/lapse/internal/kubernetes"
	"github.com/lapse-dev/lapse/test/controlplane"
)

func TestTheTableOfVersionsHasThoseThatAreBuilt(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs", "compatibility.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| (1\\.[0-9.]+) \\| `([^`]+)` \\| (.*) \\|$").FindAllStringSubmatch(string(page), -1)
	named := make([]string, 0, len(rows))
	for _, row := range rows {
		named = append(named, row[1])
		if want := kubernetes.Overlay(row[1]); row[2] != want {
			t.Errorf("%s is installed with %s in the table, and with %s by the plugin", row[1], row[2], want)
		}
		if strings.Contains(row[3], "failed") {
			t.Errorf("%s has failures in the table: %s", row[1], row[3])
		}
		if err := kubernetes.Supported(row[1]); err != nil {
			t.Error(err)
		}
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
