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

// leftOut is the column of what no suite ran.
const leftOut = "Left out"

func (m *matrix) columns() []string {
	return slices.Concat([]string{"Kubernetes", "Installed with"}, m.suites, []string{leftOut})
}

// cells of a row, one for each column.
func (r row) cells() []string {
	cells := []string{r.version, "`" + kubernetes.Overlay(r.version) + "`"}
	times := map[string]int{}
	for _, o := range r.suites {
		cells = append(cells, o.String())
		for reason, n := range o.leftOut {
			times[reason] += n
		}
	}
	reasons := make([]string, 0, len(times))
	for _, reason := range slices.Sorted(maps.Keys(times)) {
		reasons = append(reasons, fmt.Sprintf("%d: %s", times[reason], reason))
	}
	return append(cells, strings.Join(reasons, "; "))
}

// table is what ran where, in Markdown.
func (m *matrix) table() string {
	columns := m.columns()
	var b strings.Builder
	b.WriteString(line(columns) + "|" + strings.Repeat("---|", len(columns)) + "\n")
	for _, r := range m.rows {
		b.WriteString(line(r.cells()))
	}
	return b.String()
}

func line(cells []string) string { return "| " + strings.Join(cells, " | ") + " |\n" }

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
	default:
		return m.drift(printed)
	}
}

// drift says where a table does not hold by what ran. What is left out is told of all suites
// together.
func (m *matrix) drift(table string) error {
	lines := strings.Split(strings.TrimSpace(table), "\n")
	columns, rows := cellsOf(lines[0]), map[string][]string{}
	for _, l := range lines[1:] {
		cells := cellsOf(l)
		rows[cells[0]] = cells
	}
	var errs []error
	for _, r := range m.rows {
		said := rows[r.version]
		for i, is := range r.cells() {
			column := m.columns()[i]
			at := slices.Index(columns, column)
			switch {
			case column == leftOut && len(m.columns()) < len(columns):
			case at < 0 || at >= len(said):
				errs = append(errs, fmt.Errorf("docs/compatibility.md says nothing of Kubernetes %s, %s", r.version, column))
			case !holds(said[at], is):
				errs = append(errs, fmt.Errorf("docs/compatibility.md says %q of Kubernetes %s, %s; it is %q", said[at], r.version, column, is))
			}
		}
	}
	if len(errs) > 0 {
		errs = append(errs, errors.New("write the table with: go run ./hack/versions -write"))
	}
	return errors.Join(errs...)
}

// cellsOf a line of a table.
func cellsOf(line string) []string {
	cells := strings.Split(strings.Trim(line, "|"), "|")
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	return cells
}

// holds says whether what a cell says holds by what ran: as many specs passed as it says, or
// more, since whoever adds one does not run them all on each version; all else is the same.
func holds(said, is string) bool {
	least, err := strconv.Atoi(said)
	passed, notNumber := strconv.Atoi(is)
	return said == is || err == nil && notNumber == nil && passed >= least
}
