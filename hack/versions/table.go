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
	"github.com/lapse-dev/lapse/test/operator"
)

// outcome is what became of the specs of a suite.
type outcome struct {
	passed  int
	failed  []string       // names and messages
	leftOut map[string]int // by the reason
	shown   map[string]int // those that passed, by the column of which they are
	// refused says which guards refused something; nil if nobody asked.
	refused map[string]bool
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

// row is one version of Kubernetes, and a way to install on it.
type row struct {
	version string
	way     string // empty for the one that README names
	suites  []outcome
}

func (r row) name() string {
	if r.way == "" {
		return r.version
	}
	return r.version + " by " + r.way
}

// read reads a report of ginkgo.
func read(file string) (outcome, error) {
	o := outcome{leftOut: map[string]int{}, shown: map[string]int{}}
	data, err := os.ReadFile(file)
	if err != nil {
		return o, err
	}
	var reports []types.Report
	if err := json.Unmarshal(data, &reports); err != nil {
		return o, err
	}
	for i := range reports {
		for j := range reports[i].SpecReports {
			if err := o.add(&reports[i].SpecReports[j]); err != nil {
				return o, err
			}
		}
	}
	return o, nil
}

// add counts a spec, or what is around the specs, such as BeforeSuite.
func (o *outcome) add(spec *types.SpecReport) error {
	for _, entry := range spec.ReportEntries {
		if entry.Name == operator.RefusedEntry {
			if err := json.Unmarshal([]byte(entry.Value.AsJSON), &o.refused); err != nil {
				return err
			}
		}
	}
	switch {
	case spec.State.Is(types.SpecStateFailureStates):
		o.failed = append(o.failed, fmt.Sprintf("%s\n%s: %s", spec.FullText(), spec.Failure.Location, spec.Failure.Message))
	case spec.LeafNodeType != types.NodeTypeIt:
	case spec.State.Is(types.SpecStatePassed):
		o.passed++
		for _, label := range spec.Labels() {
			if column, shows := strings.CutPrefix(label, "shows "); shows {
				o.shown[column]++
			}
		}
	default:
		o.leftOut[spec.Failure.Message]++
	}
	return nil
}

// unseen begins and ends what a cell says of what was not seen.
const unseen = "**"

// leftOut is the column of what no suite ran.
const leftOut = "Left out"

// shown are columns of the table of ways: what specs with the label "shows …" show.
var shown = []string{"installs", "ready", "main job", "approval", "plugin", "removal"}

// byWay says whether the table is that of ways.
func (m *matrix) byWay() bool { return len(m.ways) > 0 }

// everyWay has one way, without a name, if none was asked for.
func (m *matrix) everyWay() []string {
	if m.byWay() {
		return m.ways
	}
	return []string{""}
}

func (m *matrix) columns() []string {
	if m.byWay() {
		return slices.Concat([]string{"Kubernetes", "Installed by"}, shown, []string{"guards"}, m.suites, []string{leftOut})
	}
	return slices.Concat([]string{"Kubernetes", "Installed with"}, m.suites, []string{leftOut})
}

// cells of a row, one for each column.
func (r row) cells() []string {
	cells := []string{r.version, "`" + kubernetes.Overlay(r.version) + "`"}
	if r.way != "" {
		cells = append([]string{r.version, r.way}, r.showing()...)
	}
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

// showing are the cells of what specs show, and of the guards, of which each has to have
// refused something in some suite.
func (r row) showing() []string {
	passed, refused := map[string]int{}, map[string]bool{}
	for _, o := range r.suites {
		for column, n := range o.shown {
			passed[column] += n
		}
		for guard, did := range o.refused {
			refused[guard] = refused[guard] || did
		}
	}
	cells := make([]string, 0, len(shown)+1)
	for _, column := range shown {
		cells = append(cells, outcome{passed: passed[column]}.String())
	}
	guards := outcome{}
	for _, guard := range slices.Sorted(maps.Keys(refused)) {
		if refused[guard] {
			guards.passed++
		} else {
			guards.failed = append(guards.failed, guard)
		}
	}
	if len(guards.failed) > 0 {
		return append(cells, fmt.Sprintf("%d, **not %s**", guards.passed, strings.Join(guards.failed, ", ")))
	}
	return append(cells, guards.String())
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

// Around a table in docs/compatibility.md.
const tableEnds = "<!-- end -->\n"

func (m *matrix) tableBegins() string {
	if m.byWay() {
		return "<!-- make test-installs prints this -->\n"
	}
	return "<!-- make test-versions prints this -->\n"
}

// document holds the table against the page, or writes it there, if all was seen. Rows of other versions that
// are known stay.
func (m *matrix) document(page string, write bool, known []string) error {
	if strings.Contains(m.table(), unseen) {
		return fmt.Errorf("the table above has cells with %q: what they say was not seen, and is not written", unseen)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	tableBegins := m.tableBegins()
	before, rest, begins := strings.Cut(string(text), tableBegins)
	printed, after, ends := strings.Cut(rest, tableEnds)
	switch {
	case !begins || !ends:
		return fmt.Errorf("%s has no table between %q and %q", page, tableBegins, tableEnds)
	case write:
		return os.WriteFile(page, []byte(before+tableBegins+m.merged(printed, known)+tableEnds+after), 0o644) //nolint:gosec // documentation
	default:
		return m.drift(printed)
	}
}

// merged is the table with the rows that printed has of other versions, in the order of those
// that are known.
func (m *matrix) merged(printed string, known []string) string {
	place := func(row string) int { return slices.Index(known, cellsOf(row)[0]) }
	table := strings.SplitAfter(m.table(), "\n")
	head, rows := table[:2], table[2:]
	for _, l := range strings.SplitAfter(printed, "\n") {
		if i := place(l); i >= 0 && !slices.ContainsFunc(m.rows, func(r row) bool { return r.version == known[i] }) {
			rows = append(rows, l)
		}
	}
	slices.SortStableFunc(rows, func(a, b string) int { return place(a) - place(b) })
	return strings.Join(head, "") + strings.Join(rows, "")
}

// drift says where a table does not hold by what ran. What is left out is told of all suites
// together.
func (m *matrix) drift(table string) error {
	lines := strings.Split(strings.TrimSpace(table), "\n")
	columns, rows := cellsOf(lines[0]), map[string][]string{}
	for _, l := range lines[1:] {
		cells := cellsOf(l)
		rows[m.key(cells)] = cells
	}
	var errs []error
	for _, r := range m.rows {
		cells := r.cells()
		said := rows[m.key(cells)]
		for i, is := range cells {
			column := m.columns()[i]
			at := slices.Index(columns, column)
			switch {
			case column == leftOut && len(m.columns()) < len(columns):
			case at < 0 || at >= len(said):
				errs = append(errs, fmt.Errorf("docs/compatibility.md says nothing of Kubernetes %s, %s", r.name(), column))
			case !holds(said[at], is):
				errs = append(errs, fmt.Errorf("docs/compatibility.md says %q of Kubernetes %s, %s; it is %q", said[at], r.name(), column, is))
			}
		}
	}
	if len(errs) > 0 {
		how := "go run ./hack/versions -write"
		if m.byWay() {
			how += " -ways"
		}
		errs = append(errs, errors.New("write the table with: "+how))
	}
	return errors.Join(errs...)
}

// key of a row: the version, and the way if there are several.
func (m *matrix) key(cells []string) string {
	if m.byWay() {
		return strings.Join(cells[:min(len(cells), 2)], " by ")
	}
	return cells[0]
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
