// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// path is one of the repository, as pages name it.
var path = regexp.MustCompile("`((?:api|cmd|config|controllers|docs|hack|internal|test)/[A-Za-z0-9_./-]+)[`:, ]")

func TestPathsThatPagesNameExist(t *testing.T) {
	named := 0
	for _, name := range pages(t) {
		for _, found := range path.FindAllStringSubmatch(prose(t, name), -1) {
			named++
			if _, err := os.Stat(filepath.Join(root, strings.TrimSuffix(found[1], "/"))); err != nil {
				t.Errorf("%s names %s, which does not exist", name, found[1])
			}
		}
	}
	if named < 100 {
		t.Errorf("only %d paths are named; the pages are read wrongly", named)
	}
}
