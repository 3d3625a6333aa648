// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package docs holds the documentation against the code.
package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// A test is named in a table as "a sentence", with … for what differs, or as
// `TestName`.
var (
	sentence = regexp.MustCompile(`"([^"]+)"`)
	function = regexp.MustCompile("`(Test[A-Za-z0-9]+)`")
)

func TestTheSecurityModelNamesTestsThatExist(t *testing.T) {
	if named := namedInTables(t, "docs/security-model.md"); named < 100 {
		t.Errorf("only %d tests are named; the page is read wrongly", named)
	}
}

func TestContributingNamesTestsThatExist(t *testing.T) {
	if named := namedInTables(t, "CONTRIBUTING.md"); named < 4 {
		t.Errorf("only %d tests are named; the page is read wrongly", named)
	}
}

// namedInTables looks for the tests that the last column of tables names, and counts them.
func namedInTables(t *testing.T, page string) (named int) {
	t.Helper()
	tests := testSources(t)
	for line := range strings.Lines(prose(t, page)) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if !strings.HasPrefix(line, "|") || len(cells) < 2 {
			continue
		}
		last := cells[len(cells)-1]
		for _, name := range function.FindAllStringSubmatch(last, -1) {
			named++
			if !strings.Contains(tests, "func "+name[1]+"(") {
				t.Errorf("%s is in no test", name[1])
			}
		}
		for _, name := range sentence.FindAllStringSubmatch(last, -1) {
			named++
			// A name may be put together: what contains it, and an entry of a table.
			for part := range strings.SplitSeq(strings.ReplaceAll(name[1], ": ", "…"), "…") {
				if !strings.Contains(tests, strings.TrimSpace(part)) {
					t.Errorf("%q: no test has %q in its name", name[1], part)
				}
			}
		}
	}
	return named
}

// testSources is the text of all tests but this one.
func testSources(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, "docs_test.go") {
			return err
		}
		data, err := os.ReadFile(path)
		all.Write(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
