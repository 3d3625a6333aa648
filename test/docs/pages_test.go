// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// readmeLines is how long the README may be. What does not fit belongs into docs/.
const readmeLines = 120

// generated pages have examples that their sources have.
var generated = []string{"docs/api.md", "docs/cli.md"}

func TestTheReadmeIsShort(t *testing.T) {
	if lines := strings.Count(read(t, "README.md"), "\n"); lines > readmeLines {
		t.Errorf("README.md has %d lines; %d are allowed: move what is not needed on the first day to docs/", lines, readmeLines)
	}
}

// target is one of the Makefile, as pages name it.
var target = regexp.MustCompile("`make ([a-z-]+)")

func TestTargetsThatPagesNameAreInTheMakefile(t *testing.T) {
	makefile := read(t, "Makefile")
	for _, name := range pages(t) {
		for _, found := range target.FindAllStringSubmatch(prose(t, name), -1) {
			if !strings.Contains(makefile, "\n"+found[1]+":") {
				t.Errorf("%s names make %s, which the Makefile does not have", name, found[1])
			}
		}
	}
}

func TestEachDecisionIsInTheIndex(t *testing.T) {
	text := prose(t, "docs/adr/README.md")
	index := slices.DeleteFunc(links(text), func(target string) bool { return strings.Contains(target, "/") })
	records, err := filepath.Glob(filepath.Join(root, "docs", "adr", "[0-9]*.md"))
	if err != nil || len(records) == 0 {
		t.Fatalf("no records: %v", err)
	}
	for i, record := range records {
		name := filepath.Base(record)
		if i >= len(index) || index[i] != name {
			t.Errorf("docs/adr/README.md has no row for %s, or not in order", name)
		}
		title, _, _ := strings.Cut(prose(t, "docs/adr/"+name), "\n")
		if !strings.Contains(text, "["+strings.TrimPrefix(title, "# ")+"]") {
			t.Errorf("docs/adr/README.md calls %s otherwise than its title: %s", name, title)
		}
	}
}

func TestEachPageCanBeFoundFromTheReadme(t *testing.T) {
	found := map[string]bool{}
	for todo := []string{"README.md"}; len(todo) > 0; todo = todo[1:] {
		if found[todo[0]] {
			continue
		}
		found[todo[0]] = true
		for _, target := range links(prose(t, todo[0])) {
			path, _, _ := strings.Cut(target, "#")
			if strings.HasSuffix(path, ".md") && !strings.Contains(path, "://") {
				todo = append(todo, filepath.ToSlash(filepath.Join(filepath.Dir(todo[0]), path)))
			}
		}
	}
	for _, name := range pages(t) {
		if !found[name] {
			t.Errorf("no link leads from the README to %s", name)
		}
	}
}
