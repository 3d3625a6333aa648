// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheTableHoldsUntilFewerSpecsPass(t *testing.T) {
	const (
		said = "| Kubernetes | Installed with | integration | e2e | Left out |\n|---|---|---|---|---|\n" +
			"| 1.31.13 | `config/overlays/without-mutating` | 273 | 39 | 3: about stamping |\n"
		stamping = "about stamping"
	)
	ran := func(version string, integration, e2e, left int) *matrix {
		return &matrix{suites: []string{"integration", "e2e"}, rows: []row{
			{version: version, suites: []outcome{{passed: integration, leftOut: map[string]int{stamping: left}}, {passed: e2e}}},
		}}
	}
	half := ran("1.31.13", 273, 0, 2)
	half.suites, half.rows[0].suites = half.suites[:1], half.rows[0].suites[:1]
	fewer := ran("1.31.13", 272, 0, 3)
	fewer.suites, fewer.rows[0].suites = fewer.suites[:1], fewer.rows[0].suites[:1]
	failed := ran("1.31.13", 273, 39, 3)
	failed.rows[0].suites[1].failed = []string{"one"}
	another := ran("1.31.13", 273, 39, 3)
	another.suites[1] = "story"

	for name, tc := range map[string]struct {
		ran  *matrix
		says string
	}{
		"the same":                  {ran: ran("1.31.13", 273, 39, 3)},
		"more passed":               {ran: ran("1.31.13", 280, 39, 3)},
		"fewer passed":              {ran: ran("1.31.13", 272, 40, 3), says: `says "273" of Kubernetes 1.31.13, integration; it is "272"`},
		"one failed":                {ran: failed, says: `says "39" of Kubernetes 1.31.13, e2e; it is "39 passed, **1 failed**"`},
		"more is left out":          {ran: ran("1.31.13", 273, 39, 4), says: `says "3: about stamping" of Kubernetes 1.31.13, Left out`},
		"another version":           {ran: ran("1.31.14", 273, 39, 3), says: "says nothing of Kubernetes 1.31.14, integration"},
		"another suite":             {ran: another, says: "says nothing of Kubernetes 1.31.13, story"},
		"one suite":                 {ran: half},
		"one suite, fewer passed":   {ran: fewer, says: `says "273" of Kubernetes 1.31.13, integration; it is "272"`},
		"a suite of which none ran": {ran: ran("1.31.13", 273, 0, 3), says: `of Kubernetes 1.31.13, e2e; it is "**nothing ran**"`},
	} {
		got := ""
		if err := tc.ran.drift(said); err != nil {
			got = err.Error()
		}
		if (got == "") != (tc.says == "") || !strings.Contains(got, tc.says) {
			t.Errorf("%s: %q, want %q", name, got, tc.says)
		}
	}
}

func TestTheTableThatIsWrittenHolds(t *testing.T) {
	m := &matrix{suites: []string{"cli"}, rows: []row{{version: "1.37.2", suites: []outcome{{passed: 64}}}}}
	if err := m.drift(m.table()); err != nil {
		t.Error(err)
	}
}

func TestRowsOfOtherVersionsStay(t *testing.T) {
	of := func(versions ...string) *matrix {
		m := &matrix{suites: []string{"cli"}}
		for _, v := range versions {
			m.rows = append(m.rows, row{version: v, suites: []outcome{{passed: 64}}})
		}
		return m
	}
	stood := strings.ReplaceAll(of("1.31.13", "1.34.4", "1.36.3").table(), "64", "60")
	known := []string{"1.31.13", "1.35.4", "1.36.3", "1.37.2"}
	got := of("1.37.2", "1.31.13").merged(stood, known)
	want := strings.Replace(of("1.31.13", "1.36.3", "1.37.2").table(), "default` | 64", "default` | 60", 1)
	if got != want {
		t.Errorf("the table is\n%s, want\n%s", got, want)
	}
	if got := of("1.31.13").merged("", known); got != of("1.31.13").table() {
		t.Errorf("where there was none, the table is\n%s", got)
	}
}

// byWays is one version on which two ways were run, of which one shows less.
func byWays() *matrix {
	all := map[string]int{"installs": 1, "ready": 1, "main job": 1, "approval": 2, "plugin": 1, "removal": 1}
	return &matrix{suites: []string{"e2e", "story"}, ways: []string{"file", "helm"}, rows: []row{
		{version: "1.37.2", way: "file", suites: []outcome{
			{passed: 60, refused: map[string]bool{"lapse-a": true, "lapse-b": false}},
			{passed: 10, refused: map[string]bool{"lapse-a": false, "lapse-b": true}, shown: all},
		}},
		{version: "1.37.2", way: "helm", suites: []outcome{
			{passed: 60, refused: map[string]bool{"lapse-a": true, "lapse-b": false}},
			{passed: 10, shown: map[string]int{"installs": 1}},
		}},
	}}
}

func TestTheTableOfWaysSaysWhatWasNotSeen(t *testing.T) {
	const want = "| Kubernetes | Installed by | installs | ready | main job | approval | plugin | removal | guards | " +
		"e2e | story | Left out |\n" +
		"|---|---|---|---|---|---|---|---|---|---|---|---|\n" +
		"| 1.37.2 | file | 1 | 1 | 1 | 2 | 1 | 1 | 2 | 60 | 10 |  |\n" +
		"| 1.37.2 | helm | 1 | **nothing ran** | **nothing ran** | **nothing ran** | **nothing ran** | **nothing ran** | " +
		"1, **not lapse-b** | 60 | 10 |  |\n"
	m := byWays()
	if got := m.table(); got != want {
		t.Errorf("the table is\n%s, want\n%s", got, want)
	}
	if err := m.drift(want); err != nil {
		t.Error(err)
	}
	err := m.drift(strings.Replace(want, "1, **not lapse-b**", "2", 1))
	if err == nil || !strings.Contains(err.Error(), `says "2" of Kubernetes 1.37.2 by helm, guards; it is "1, **not lapse-b**"`) {
		t.Errorf("a guard that refused nothing: %v", err)
	}
}

func TestNothingIsWrittenThatWasNotSeen(t *testing.T) {
	const before = "<!-- make test-installs prints this -->\n<!-- end -->\n"
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	known := []string{"1.37.2"}
	m := byWays()
	if err := m.document(page, true, known); err == nil {
		t.Error("a table with what was not seen is written")
	}
	if got, err := os.ReadFile(page); err != nil || string(got) != before {
		t.Errorf("the page has %q (%v)", got, err)
	}
	m.rows = m.rows[:1]
	if err := m.document(page, true, known); err != nil {
		t.Error(err)
	}
	if err := m.document(page, false, known); err != nil {
		t.Errorf("what was written does not hold: %v", err)
	}
}

func TestEachColumnHasASpec(t *testing.T) {
	story, err := os.ReadFile("../../test/story/story_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, column := range shown {
		if !strings.Contains(string(story), `shows("`+column+`")`) {
			t.Errorf("no spec of the story shows %q", column)
		}
	}
}
