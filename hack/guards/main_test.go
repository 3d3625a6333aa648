// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onsi/ginkgo/v2/types"
)

func TestTheTableIsOfWhatThereIs(t *testing.T) {
	const root = "../.."
	guards, err := read(root, 0)
	if err != nil {
		t.Fatal(err)
	}
	holes := map[string]bool{}
	for _, g := range guards {
		holes[strings.Fields(g.Hole)[0]] = true
		files, err := filepath.Glob(filepath.Join(root, g.Package, "*_test.go"))
		if err != nil || len(files) == 0 {
			t.Errorf("%s: %s has no tests", g.Guard, g.Package)
		}
		var tests strings.Builder
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			tests.Write(text)
		}
		for part := range strings.SplitSeq(g.Focus, "…") {
			if !strings.Contains(tests.String(), strings.TrimSpace(part)) {
				t.Errorf("%s: no spec of %s has %q in its name", g.Guard, g.Package, part)
			}
		}
		if g.Run != "" && !strings.Contains(tests.String(), "func "+g.Run+"(") {
			t.Errorf("%s: %s has no %s", g.Guard, g.Package, g.Run)
		}
	}
	mustBeOfEachHole(t, holes)
}

func mustBeOfEachHole(t *testing.T, holes map[string]bool) {
	t.Helper()
	for i := range 12 {
		if !holes[fmt.Sprint(i+1)] {
			t.Errorf("hole %d has no guard", i+1)
		}
	}
}

func TestOnlyAGuardOfWhichTheTestFailsIsSeen(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module example.com/safe\n\ngo 1.26.0\n",
		"safe.go": "package safe\n\nfunc Open(who string) bool {\n\tif who == \"mallory\" {\n\t\treturn false\n\t}\n" +
			"\tif who == \"eve\" {\n\t\treturn false\n\t}\n\treturn who != \"\"\n}\n",
		"safe_test.go": "package safe\n\nimport \"testing\"\n\nfunc TestMalloryIsOut(t *testing.T) {\n\tif Open(\"mallory\") {\n" +
			"\t\tt.Error(\"she is in\")\n\t}\n}\n\nfunc TestEveIsNamed(t *testing.T) {}\n",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "git", "-C", root, "init").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	mallory := change{File: "safe.go", Replace: `who == "mallory"`, With: "false"}
	for name, tc := range map[string]struct {
		changes   []change
		run, says string
		want      string
	}{
		"its test fails":                  {[]change{mallory}, "TestMalloryIsOut", "she is in", ""},
		"two changes, and its test fails": {[]change{{"safe.go", `who == "eve"`, "false"}, mallory}, "TestMalloryIsOut", "she is in", ""},
		"its test says something else":    {[]change{mallory}, "TestMalloryIsOut", "eve", `does not say "eve"`},
		"its test passes":                 {[]change{{"safe.go", `who == "eve"`, "false"}}, "TestEveIsNamed", "she", "no assertion"},
		"nothing has that name":           {[]change{mallory}, "TestAliceIsIn", "she", "no test ran"},
		"it does not compile without it":  {[]change{{"safe.go", "who string", ""}}, "TestMalloryIsOut", "undefined", "no test ran"},
		"it is not there":                 {[]change{{"safe.go", "trudy", ""}}, "TestMalloryIsOut", "she", "in safe.go 0 times"},
		"it is there twice":               {[]change{{"safe.go", "return false", ""}}, "TestMalloryIsOut", "she", "in safe.go 2 times"},
	} {
		t.Run(name, func(t *testing.T) {
			g := guard{Package: ".", Changes: tc.changes, Run: tc.run, Says: tc.says}
			err := g.missed(t.Context(), root, filepath.Join(t.TempDir(), "log"))
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("err = %v, want %q", err, tc.want)
			}
		})
	}
}

func TestOnlySpecsThatAnAssertionFailedCount(t *testing.T) {
	spec := func(node types.NodeType, state types.SpecState, says string) types.SpecReport {
		return types.SpecReport{LeafNodeType: node, State: state, Failure: types.Failure{Message: says}}
	}
	for name, tc := range map[string]struct {
		specs []types.SpecReport
		want  string
	}{
		"one failed": {
			[]types.SpecReport{spec(types.NodeTypeIt, types.SpecStateSkipped, ""), spec(types.NodeTypeIt, types.SpecStateFailed, "he is in")},
			"1 [he is in]",
		},
		"one passed": {[]types.SpecReport{spec(types.NodeTypeIt, types.SpecStatePassed, "")}, "1 []"},
		"what comes before failed": {
			[]types.SpecReport{
				spec(types.NodeTypeBeforeSuite, types.SpecStateFailed, "he is in"), spec(types.NodeTypeIt, types.SpecStateSkipped, ""),
			}, "0 []",
		},
		"one panicked":   {[]types.SpecReport{spec(types.NodeTypeIt, types.SpecStatePanicked, "he is in")}, "1 []"},
		"one timed out":  {[]types.SpecReport{spec(types.NodeTypeIt, types.SpecStateTimedout, "he is in")}, "1 []"},
		"nothing at all": {nil, "0 []"},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := json.Marshal([]types.Report{{SpecReports: tc.specs}})
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "report.json")
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if ran, failed := reported(file); fmt.Sprint(ran, " ", failed) != tc.want {
				t.Errorf("%d %v, want %s", ran, failed, tc.want)
			}
		})
	}
	if ran, _ := reported(filepath.Join(t.TempDir(), "none")); ran != 0 {
		t.Errorf("without a report, %d ran", ran)
	}
}
