// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/lapse-dev/lapse/internal/kubernetes"
)

// outcome is what became of the specs of a suite.
type outcome struct {
	passed  int
	failed  []string       // names and messages
	leftOut map[string]int // by the reason
}

func (o outcome) String() string {
	if o.passed+len(o.failed) == 0 {
		return "**nothing ran**"
	}
	if len(o.failed) > 0 {
		return fmt.Sprintf("%d passed, **%d failed**", o.passed, len(o.failed))
	}
	return fmt.Sprint(o.passed)
}

// row is one version of Kubernetes.
type row struct {
	version string
	suites  []outcome
}

// read reads a report of ginkgo.
func read(file string) (outcome, error) {
	o := outcome{leftOut: map[string]int{}}
	data, err := os.ReadFile(file)
	if err != nil {
		return o, err
	}
	var reports []types.Report
	if err := json.Unmarshal(data, &reports); err != nil {
		return o, err
	}
	for i := range reports {
		for _, spec := range reports[i].SpecReports {
			switch {
			case spec.State.Is(types.SpecStateFailureStates):
				// Also what is around the specs, such as BeforeSuite.
				o.failed = append(o.failed, fmt.Sprintf("%s\n%s: %s", spec.FullText(), spec.Failure.Location, spec.Failure.Message))
			case spec.LeafNodeType != types.NodeTypeIt:
			case spec.State.Is(types.SpecStatePassed):
				o.passed++
			default:
				o.leftOut[spec.Failure.Message]++
			}
		}
	}
	return o, nil
}

// table is what ran where, in Markdown.
func (m *matrix) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| Kubernetes | Installed with | %s | Left out |\n|---|---|%s---|\n", strings.Join(m.suites, " | "), strings.Repeat("---|", len(m.suites)))
	for _, r := range m.rows {
		fmt.Fprintf(&b, "| %s | `%s` |", r.version, kubernetes.Overlay(r.version))
		leftOut := map[string]int{}
		for _, o := range r.suites {
			fmt.Fprintf(&b, " %s |", o)
			for reason, n := range o.leftOut {
				leftOut[reason] += n
			}
		}
		reasons := make([]string, 0, len(leftOut))
		for _, reason := range slices.Sorted(maps.Keys(leftOut)) {
			reasons = append(reasons, fmt.Sprintf("%d: %s", leftOut[reason], reason))
		}
		fmt.Fprintf(&b, " %s |\n", strings.Join(reasons, "; "))
	}
	return b.String()
}

// Around the table in docs/compatibility.md.
const (
	tableBegins = "<!-- make test-versions prints this -->\n"
	tableEnds   = "<!-- end -->\n"
)

// document holds the table against the page, or writes it there.
func (m *matrix) document(page string, write bool) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, begins := strings.Cut(string(text), tableBegins)
	printed, after, ends := strings.Cut(rest, tableEnds)
	switch {
	case !begins || !ends:
		return fmt.Errorf("%s has no table between %q and %q", page, tableBegins, tableEnds)
	case write:
		return os.WriteFile(page, []byte(before+tableBegins+m.table()+tableEnds+after), 0o644) //nolint:gosec // documentation
	case !holds(printed, m.table()):
		return errors.New("docs/compatibility.md says otherwise; write this table with: go run ./hack/versions -write")
	}
	return nil
}

// holds says whether what is printed holds by what ran: as many specs passed as it says, or
// more, since whoever adds one does not run them all on each version; all else is the same.
func holds(printed, ran string) bool {
	said, are := strings.Split(printed, "|"), strings.Split(ran, "|")
	return slices.EqualFunc(said, are, func(said, is string) bool {
		least, err := strconv.Atoi(strings.TrimSpace(said))
		passed, notNumber := strconv.Atoi(strings.TrimSpace(is))
		return said == is || err == nil && notNumber == nil && passed >= least
	})
}
