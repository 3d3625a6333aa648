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

	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
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

// What the table says of each of them, hack/versions holds against what ran.
func TestTheTableOfInstallsHasEachWayOnThreeVersions(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs", "compatibility.md"))
	if err != nil {
		t.Fatal(err)
	}
	built, err := controlplane.Versions()
	if err != nil {
		t.Fatal(err)
	}
	three := []string{built[0], built[(len(built)-1)/2], built[len(built)-1]}
	want := make([]string, 0, len(three)*len(operator.Ways))
	for _, version := range three {
		for _, way := range operator.Ways {
			want = append(want, version+" by "+way)
		}
	}
	_, table, _ := strings.Cut(string(page), "<!-- make test-installs prints this -->\n")
	table, _, _ = strings.Cut(table, "<!-- end -->")
	rows := regexp.MustCompile(`(?m)^\| (1\.[0-9.]+) \| (\S+) \|`).FindAllStringSubmatch(table, -1)
	got := make([]string, 0, len(rows))
	for _, row := range rows {
		got = append(got, row[1]+" by "+row[2])
	}
	if !slices.Equal(got, want) {
		t.Errorf("the table has\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
