// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
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

// A way that leaves an admission policy out has a guard less than there are policies.
func TestTheTableOfInstallsHasEachWayAndAllGuards(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs", "compatibility.md"))
	if err != nil {
		t.Fatal(err)
	}
	built, err := controlplane.Versions()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, "config", "admission", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	policies := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		policies += strings.Count(string(text), "\nkind: ValidatingAdmissionPolicy\n")
	}
	three := []string{built[0], built[(len(built)-1)/2], built[len(built)-1]}
	want := make([]string, 0, len(three)*len(operator.Ways))
	for _, version := range three {
		for _, way := range operator.Ways {
			want = append(want, version+" by "+way+": "+strconv.Itoa(policies))
		}
	}
	_, table, _ := strings.Cut(string(page), "<!-- make test-installs prints this -->\n")
	table, _, _ = strings.Cut(table, "<!-- end -->")
	rows := strings.Split(strings.TrimSpace(table), "\n")
	guards := slices.Index(strings.Split(rows[0], " | "), "guards")
	got := make([]string, 0, len(rows))
	for _, row := range rows[min(2, len(rows)):] {
		cells := strings.Split(strings.Trim(row, "| "), " | ")
		got = append(got, cells[0]+" by "+cells[1]+": "+cells[guards])
	}
	if !slices.Equal(got, want) {
		t.Errorf("the table has\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
