// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Command guards takes each guard of guards.yaml away, in a copy of the repository, and
// demands that its test fails then, and prints what it saw. A test that passes without its
// guard shows nothing.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2/types"
	"sigs.k8s.io/yaml"

	"github.com/lapse-dev/lapse/test/operator"
)

// table is the file that says which guards there are; its head explains the fields.
const table = "hack/guards/guards.yaml"

// guard is how one guard is taken away, and which test has to fail then.
type guard struct {
	Hole    string   `json:"hole"`
	Guard   string   `json:"guard"`
	Changes []change `json:"changes"`
	Package string   `json:"package"`
	Run     string   `json:"run"`
	Focus   string   `json:"focus"`
	Says    string   `json:"says"`
	change
}

// change has another text stand in a file.
type change struct {
	File    string `json:"file"`
	Replace string `json:"replace"`
	With    string `json:"with"`
}

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	only := flag.Int("only", 0, "number of a hole, to take only its guards away; all, if 0")
	flag.Parse()
	err := run(ctx, *only)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "guards:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only int) error {
	root, err := operator.Root()
	if err != nil {
		return err
	}
	guards, err := read(root, only)
	if err != nil {
		return err
	}
	logs := filepath.Join(root, "bin", "guards")
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return err
	}
	fmt.Print("| Hole | Guard that is taken away | Test | Seen to fail | Seconds |\n|---|---|---|---|---|\n")
	var failed []error
	for i, g := range guards {
		log := filepath.Join(logs, fmt.Sprintf("%s-%02d.log", strings.Fields(g.Hole)[0], i+1))
		begun, seen := time.Now(), "yes"
		if err := g.missed(ctx, root, log); err != nil {
			seen = "**no**"
			failed = append(failed, fmt.Errorf("hole %s, %s: %w; see %s", g.Hole, g.Guard, err, log))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		took := time.Since(begun).Seconds()
		fmt.Printf("| %s | %s | `%s`: %s | %s | %.0f |\n", g.Hole, g.Guard, g.Package, g.Focus+g.Run, seen, took)
	}
	return errors.Join(failed...)
}

// read reads the guards of one hole, or of all, and holds them against the repository.
func read(root string, only int) (guards []guard, err error) {
	data, err := os.ReadFile(filepath.Join(root, table))
	if err != nil {
		return nil, err
	}
	var all []guard
	if err := yaml.UnmarshalStrict(data, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", table, err)
	}
	for _, g := range all {
		if only != 0 && !strings.HasPrefix(g.Hole, fmt.Sprint(only, " ")) {
			continue
		}
		if g.File != "" {
			g.Changes = append(g.Changes, g.change)
		}
		guards = append(guards, g)
		if problem := g.check(root); problem != nil {
			err = errors.Join(err, fmt.Errorf("%s: hole %s, %q: %w", table, g.Hole, g.Guard, problem))
		}
	}
	if len(guards) == 0 {
		err = fmt.Errorf("%s has no guard of hole %d", table, only)
	}
	return guards, err
}

// check says what is wrong with a guard.
func (g guard) check(root string) (err error) {
	if g.Guard == "" || g.Package == "" || g.Says == "" || (g.Run == "") == (g.Focus == "") || len(g.Changes) == 0 {
		err = errors.New("guard, package, says, file or changes, and either run or focus must be set")
	}
	for _, c := range g.Changes {
		_, wrong := c.of(root)
		err = errors.Join(err, wrong)
	}
	return err
}

// of is the file as it is with the change.
func (c change) of(root string) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(root, c.File))
	if n := bytes.Count(data, []byte(c.Replace)); err == nil && n != 1 {
		err = fmt.Errorf("what is to be replaced is in %s %d times, and must be there once:\n%s", c.File, n, c.Replace)
	}
	return bytes.Replace(data, []byte(c.Replace), []byte(c.With), 1), err
}

// pattern finds the specs that Focus means.
func (g guard) pattern() string {
	return strings.ReplaceAll(regexp.QuoteMeta(g.Focus), "…", ".*")
}

// copyTo makes a tree of all files that git has or would add, with the control planes in bin/.
func copyTo(ctx context.Context, root, tree string) error {
	list := exec.CommandContext(ctx, "git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	names, err := list.Output()
	if err != nil {
		return fmt.Errorf("listing the files of the repository: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		data, err := os.ReadFile(filepath.Join(root, name))
		if errors.Is(err, os.ErrNotExist) {
			continue // git does not know yet that it was deleted
		}
		to := filepath.Join(tree, name)
		if err := errors.Join(err, os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, data, 0o755)); err != nil {
			return err
		}
	}
	planes, err := filepath.Glob(filepath.Join(root, "bin", "k8s-*"))
	err = errors.Join(err, os.MkdirAll(filepath.Join(tree, "bin"), 0o755))
	for _, plane := range planes {
		err = errors.Join(err, os.Symlink(plane, filepath.Join(tree, "bin", filepath.Base(plane))))
	}
	return err
}

// missed takes a guard away in a copy of the repository and runs its test. It is an error if
// the test does not fail, or fails for another reason.
func (g guard) missed(ctx context.Context, root, log string) (err error) {
	tree, dirErr := os.MkdirTemp("", "lapse-guards-")
	out, logErr := os.Create(log)
	if err := errors.Join(dirErr, logErr); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close(), os.RemoveAll(tree)) }()
	if err := copyTo(ctx, root, tree); err != nil {
		return err
	}
	for _, c := range g.Changes {
		changed, err := c.of(tree)
		if err := errors.Join(err, os.WriteFile(filepath.Join(tree, c.File), changed, 0o755)); err != nil {
			return err
		}
	}
	// As make build has it, so that what is compiled serves whatever the name of the tree.
	command := func(verb string, args ...string) error {
		cmd := exec.CommandContext(ctx, "go", append([]string{verb, "-trimpath"}, args...)...)
		cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = tree, out, out, append(os.Environ(), "CGO_ENABLED=0")
		return cmd.Run()
	}
	test := []string{"-v", "-vet=off", "-count=1", "-timeout=10m", g.Package}
	if g.Run != "" {
		_ = command("test", append(test, "-run=^"+g.Run+"$")...) // what failed is in the log
		return g.verdict(tested(log))
	}
	// Suites run these, and the operator holds what is installed against what it was built with.
	for name, pkg := range map[string]string{"manager": ".", "kubectl-lapse": "./cmd/kubectl-lapse"} {
		if command("build", "-o", filepath.Join("bin", name), pkg) != nil {
			return fmt.Errorf("%s does not compile without it", name)
		}
	}
	report := filepath.Join(tree, "report.json")
	_ = command("test", append(test, "-ginkgo.focus="+g.pattern(), "-ginkgo.json-report="+report)...) // what failed is in the report
	return g.verdict(reported(report))
}

// verdict is an error unless a test ran, and one failed that said what it has to.
func (g guard) verdict(ran int, failed []string) error {
	switch {
	case ran == 0:
		return errors.New("no test ran: none has that name, it does not compile, or what comes before it failed")
	case len(failed) == 0:
		return errors.New("no assertion of the test fails without it")
	case !strings.Contains(strings.Join(failed, "\n"), g.Says):
		return fmt.Errorf("the test does not say %q, but %.500q", g.Says, failed[0])
	}
	return nil
}

// tested reads what go test -v printed.
func tested(log string) (ran int, failed []string) {
	printed, _ := os.ReadFile(log) // of one that cannot be read no test ran
	if strings.Contains(string(printed), "\n--- FAIL: ") {
		failed = []string{string(printed)}
	}
	return strings.Count(string(printed), "=== RUN "), failed
}

// reported reads a report of Ginkgo. There is none if nothing ran.
func reported(file string) (ran int, failed []string) {
	data, _ := os.ReadFile(file)
	var reports []types.Report
	_ = json.Unmarshal(data, &reports)
	for i := range reports {
		for _, spec := range reports[i].SpecReports {
			if spec.LeafNodeType != types.NodeTypeIt || spec.State.Is(types.SpecStateSkipped|types.SpecStatePending) {
				continue
			}
			if ran++; spec.State == types.SpecStateFailed {
				failed = append(failed, spec.Failure.Message)
			}
		}
	}
	return ran, failed
}
