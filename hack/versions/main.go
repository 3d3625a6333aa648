// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Command versions runs the suites on each version of Kubernetes that hack/controlplane
// builds, or with each way to install on three of them, and prints what ran where. It fails
// if a spec fails, if something was not seen, or if the table in docs/compatibility.md says
// otherwise of what ran.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

// allSuites are the packages below test/ that run on each version.
const allSuites = "integration e2e cli story"

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "versions:", err)
		cancel()
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	which := flag.String("versions", "", "versions of Kubernetes, separated by spaces; all, if empty")
	suites := flag.String("suites", allSuites, "suites, separated by spaces")
	byWay := flag.Bool("ways", false, "install by each way; on the oldest, a middle and the newest version, if none is named")
	write := flag.Bool("write", false, "write the rows of these versions into docs/compatibility.md, if all suites ran")
	flag.Parse()
	if *byWay && *suites != allSuites {
		return fmt.Errorf("-suites is %q, but the table of -ways is of all suites; for one suite and one way: %s=helm go run ./hack/versions -suites story",
			*suites, operator.InstallBy)
	}
	root, err := operator.Root()
	if err != nil {
		return err
	}
	known, err := controlplane.Versions()
	if err != nil {
		return err
	}
	m := &matrix{root: root, suites: strings.Fields(*suites)}
	if *byWay {
		m.ways = operator.Ways
	}
	named := strings.Fields(*which)
	versions := m.chosen(named, known)
	whole := *suites == allSuites
	begun := time.Now() //nolint:forbidigo // it is printed
	err = m.run(ctx, versions, whole && len(named) == 0 && !*byWay)
	fmt.Printf("\n%s\n%d versions in %s\n", m.table(), len(versions), time.Since(begun).Round(time.Second)) //nolint:forbidigo // it is printed
	if err != nil {
		return err
	}
	return m.document(filepath.Join(root, "docs", "compatibility.md"), *write && whole, known)
}

// matrix is what ran where.
type matrix struct {
	root   string
	suites []string
	ways   []string // to install; none is the one that README names
	rows   []row
}

// chosen are the versions to run on.
func (m *matrix) chosen(named, known []string) []string {
	switch {
	case len(named) > 0:
		return named
	case m.byWay():
		return []string{known[0], known[(len(known)-1)/2], known[len(known)-1]}
	default:
		return known
	}
}

// run builds the versions, and then runs the suites on them, two at a time whatever
// their version: they wait for deadlines most of the time, and one takes half of it.
func (m *matrix) run(ctx context.Context, versions []string, upgrade bool) error {
	var errs []error
	for _, v := range versions {
		err := errors.Join(m.command(ctx, "hack/controlplane/build.sh", v).Run(), os.RemoveAll(m.logs(v)), os.MkdirAll(m.logs(v), 0o755))
		if err != nil {
			errs = append(errs, fmt.Errorf("building Kubernetes %s: %w", v, err))
			continue
		}
		for _, way := range m.everyWay() {
			m.rows = append(m.rows, row{version: v, way: way, suites: make([]outcome, len(m.suites))})
		}
	}
	ran := make([]error, len(m.rows)*len(m.suites)+1)
	var group errgroup.Group
	group.SetLimit(2)
	for i, r := range m.rows {
		for j, suite := range m.suites {
			group.Go(func() error {
				r.suites[j], ran[i*len(m.suites)+j] = m.suite(ctx, r, suite)
				fmt.Printf("  %-20s %-12s %s\n", r.name(), suite, r.suites[j])
				return nil
			})
		}
	}
	if upgrade {
		group.Go(func() error {
			ran[len(ran)-1] = m.upgrade(ctx)
			return nil
		})
	}
	_ = group.Wait() // each error has its place in ran
	return errors.Join(append(errs, ran...)...)
}

// logs is where the suites tell what they did on a version.
func (m *matrix) logs(version string) string {
	return filepath.Join(m.root, "bin", "versions", version)
}

// suite runs one, and reads from its report what ran.
func (m *matrix) suite(ctx context.Context, r row, suite string) (outcome, error) {
	path := filepath.Join(m.logs(r.version), strings.TrimSuffix(suite+"-"+r.way, "-"))
	report := path + ".json"
	log, err := os.Create(path + ".log")
	if err != nil {
		return outcome{}, err
	}
	defer log.Close()
	cmd := m.command(ctx, "go", "test", "./test/"+suite, "-v", "-count=1", "-timeout=20m", "-ginkgo.json-report="+report)
	assets, err := controlplane.AssetsOf(r.version)
	if err != nil {
		return outcome{}, err
	}
	cmd.Env = append(os.Environ(), "KUBEBUILDER_ASSETS="+assets)
	if r.way != "" {
		cmd.Env = append(cmd.Env, operator.InstallBy+"="+r.way)
	}
	cmd.Stdout, cmd.Stderr = log, log
	runErr := cmd.Run()
	o, readErr := read(report)
	if runErr == nil && readErr == nil && o.passed == 0 {
		runErr = errors.New("nothing ran")
	}
	if runErr != nil {
		return o, fmt.Errorf("%s on Kubernetes %s: %w; see %s\n%s", suite, r.name(), runErr, log.Name(), strings.Join(o.failed, "\n"))
	}
	return o, readErr
}

// upgrade is the one spec that goes from version to version.
func (m *matrix) upgrade(ctx context.Context) error {
	fmt.Println("Upgrade of the control plane")
	return m.command(ctx, "go", "test", "./test/upgrade", "-v", "-count=1", "-timeout=20m").Run()
}

func (m *matrix) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = m.root, os.Stdout, os.Stderr
	return cmd
}
