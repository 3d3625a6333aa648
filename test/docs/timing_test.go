// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/go/packages"
)

var update = flag.Bool("update", false, "write docs/architecture.md instead of comparing it")

// Each constant of time in what the operator runs is in the table, with the reason that
// its comment gives.
func TestTheTableOfTimesHasEachConstant(t *testing.T) {
	const mark, end = "<!-- timing -->\n", "<!-- end -->"
	file := filepath.Join(root, "docs", "architecture.md")
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), mark)
	_, after, ended := strings.Cut(rest, end)
	if !ok || !ended {
		t.Fatalf("%s has no table between %s and %s", file, mark, end)
	}
	want := before + mark + timingTable(t) + end + after
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(page) != want {
		t.Errorf("the table of times in docs/architecture.md is not what the code says; write it with make generate")
	}
}

// timing is one constant.
type timing struct {
	room, name, reason string
	value              time.Duration
}

func timingTable(t *testing.T) string {
	t.Helper()
	found, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedSyntax | packages.NeedTypes |
			packages.NeedTypesInfo | packages.NeedImports | packages.NeedExportFile,
		Dir: root,
	}, ".", "./controllers/...", "./internal/...")
	if err != nil {
		t.Fatal(err)
	}
	var all []timing
	for _, p := range found {
		for _, problem := range p.Errors {
			t.Fatal(problem)
		}
		for _, file := range p.Syntax {
			all = append(all, timings(t, p, file)...)
		}
	}
	slices.SortFunc(all, func(a, b timing) int { return cmp.Or(cmp.Compare(a.room, b.room), cmp.Compare(a.name, b.name)) })
	var out strings.Builder
	out.WriteString("| Constant | Value | Why |\n|---|---|---|\n")
	for _, c := range all {
		fmt.Fprintf(&out, "| `%s` `%s` | %s | %s |\n", c.room, c.name, short(c.value), c.reason)
	}
	return out.String()
}

// timings are the constants of a file that are durations.
func timings(t *testing.T, p *packages.Package, file *ast.File) []timing {
	t.Helper()
	var out []timing
	for _, decl := range file.Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST {
			continue
		}
		for _, spec := range group.Specs {
			values := spec.(*ast.ValueSpec)
			for _, name := range values.Names {
				c := p.TypesInfo.Defs[name].(*types.Const)
				if c.Type().String() != "time.Duration" {
					continue
				}
				nanoseconds, _ := constant.Int64Val(c.Val())
				reason := reasonOf(name.Name, values.Doc, group.Doc)
				if reason == "" {
					t.Errorf("%s: nothing says why %s is %s", p.Fset.Position(name.Pos()), name.Name, time.Duration(nanoseconds))
				}
				out = append(out, timing{roomOf(p), name.Name, reason, time.Duration(nanoseconds)})
			}
		}
	}
	return out
}

func roomOf(p *packages.Package) string {
	if p.Name == "main" {
		return "main.go"
	}
	return strings.TrimPrefix(p.PkgPath, "github.com/lapse-dev/lapse/")
}

// reasonOf is a comment without the name of the constant and the verb that follows it.
func reasonOf(name string, docs ...*ast.CommentGroup) string {
	for _, doc := range docs {
		if text := strings.Join(strings.Fields(doc.Text()), " "); strings.HasPrefix(text, name+" ") {
			text = regexp.MustCompile(`^is `).ReplaceAllString(strings.TrimPrefix(text, name+" "), "")
			return strings.ToUpper(text[:1]) + text[1:]
		}
	}
	return ""
}

// short is a duration without zeros at its end.
func short(d time.Duration) string {
	if days := d / (24 * time.Hour); days > 1 && d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%d days", days)
	}
	return strings.NewReplacer("h0m0s", "h", "m0s", "m").Replace(d.String())
}
