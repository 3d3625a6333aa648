// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

var (
	link = regexp.MustCompile(`\[[^\]]*\]\(([^)\s]+)\)`)
	// quoted is what no link is in.
	quoted = regexp.MustCompile("`[^`]*`")
)

func TestRelativeLinksLeadSomewhere(t *testing.T) {
	followed := 0
	for _, name := range pages(t) {
		for _, target := range links(prose(t, name)) {
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			followed++
			path, anchor, _ := strings.Cut(target, "#")
			to := name
			if path != "" {
				to = filepath.ToSlash(filepath.Join(filepath.Dir(name), path))
			}
			if _, err := os.Stat(filepath.Join(root, to)); err != nil {
				t.Errorf("%s links to %s, which does not exist", name, target)
				continue
			}
			if anchor != "" && !anchors(prose(t, to))[anchor] {
				t.Errorf("%s links to %s; %s has no such heading", name, target, to)
			}
		}
	}
	if followed < 100 {
		t.Errorf("only %d links were followed; the pages are read wrongly", followed)
	}
}

func links(text string) (targets []string) {
	for _, found := range link.FindAllStringSubmatch(quoted.ReplaceAllString(text, "x"), -1) {
		targets = append(targets, found[1])
	}
	return targets
}

// anchors are those that GitHub gives the headings of a page.
func anchors(text string) map[string]bool {
	found := map[string]bool{}
	for line := range strings.Lines(text) {
		heading := strings.TrimLeft(line, "#")
		if heading == line || !strings.HasPrefix(heading, " ") {
			continue
		}
		found[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
				return unicode.ToLower(r)
			default:
				return -1
			}
		}, strings.TrimSpace(heading))] = true
	}
	return found
}

// prose is a page without what is between fences.
func prose(t *testing.T, name string) string {
	t.Helper()
	var text strings.Builder
	fenced := false
	for line := range strings.Lines(read(t, name)) {
		switch {
		case strings.HasPrefix(line, "```"):
			fenced = !fenced
		case !fenced:
			text.WriteString(line)
		}
	}
	return text.String()
}

// pages are all of Markdown in the repository, by their paths in it.
func pages(t *testing.T) (names []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		switch name = filepath.ToSlash(name); {
		case err != nil:
			return err
		case entry.IsDir() && (name == "bin" || name == "dist" || name == ".git" || entry.Name() == "node_modules"):
			return filepath.SkipDir
		case !entry.IsDir() && strings.HasSuffix(name, ".md"):
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
