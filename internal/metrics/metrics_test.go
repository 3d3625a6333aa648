// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// alert is how config/monitoring/rules.yaml alerts on reasons.
var alert = regexp.MustCompile(`increase\(lapse_request_outcomes_total\{reason=~?"([^"]+)"\}`)

func TestWhatIsAlertedOnIsThereBeforeItHappens(t *testing.T) {
	rules, err := os.ReadFile("../../config/monitoring/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	matches := alert.FindAllStringSubmatch(string(rules), -1)
	alerted := make([]string, 0, 2*len(matches))
	for _, found := range matches {
		alerted = append(alerted, strings.Split(found[1], "|")...)
	}
	if len(alerted) < 6 {
		t.Fatalf("the rules alert on %v; they are read wrongly", alerted)
	}
	there := exposed(t)
	for _, reason := range alerted {
		if !slices.Contains(there, reason) {
			t.Errorf("%s is alerted on, and its series begins with its first increase, which nobody sees", reason)
		}
	}
}

// exposed are the reasons of which there is a series.
func exposed(t *testing.T) (reasons []string) {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "lapse_request_outcomes_total" {
			continue
		}
		for _, m := range family.GetMetric() {
			reasons = append(reasons, m.GetLabel()[0].GetValue())
		}
	}
	return reasons
}

// driven are the public functions, each called with something else in each round. Text is of
// lists that nobody who asks can add to: reasons, and what the operator's flags and file name.
func driven(t *testing.T) map[string]func(round int) {
	t.Helper()
	done := func(err error) {
		t.Helper()
		if _, again := errors.AsType[prometheus.AlreadyRegisteredError](err); err != nil && !again {
			t.Fatal(err)
		}
	}
	count := func(n int) func() float64 { return func() float64 { return float64(n) } }
	sink := func(i int) string { return []string{"stdout", "file", "https-01234567"}[i%3] }
	receiver := func(i int) string { return []string{"oncall", "security"}[i%2] }
	return map[string]func(int){
		"Handler":      func(int) { Handler() },
		"Outcome":      func(i int) { Outcome(reasons[i%len(reasons)]) },
		"Lateness":     func(i int) { Lateness(time.Duration(i) * time.Second) },
		"ApprovalWait": func(i int) { ApprovalWait(time.Duration(i) * time.Second) },
		"Gauges": func(i int) {
			done(Gauges(count(i), count(i), count(i), func() time.Duration { return time.Duration(i) }))
		},
		"PoliciesNotReady":  func(i int) { done(PoliciesNotReady(count(i))) },
		"AdmissionEnforced": func(i int) { done(AdmissionEnforced(func() bool { return i%2 == 0 })) },
		"RecordSink":        func(i int) { RecordSink(sink(i)) },
		"RecordTold":        func(i int) { RecordTold(sink(i)) },
		"RecordFailed":      func(i int) { RecordFailed(sink(i)) },
		"RecordWithheld":    func(i int) { RecordWithheld(sink(i)) },
		"RecordsDropped":    func(i int) { RecordsDropped(sink(i), i) },
		"RecordsBehind":     func(i int) { RecordsBehind(sink(i), i) },
		"MessageReceiver":   func(i int) { MessageReceiver(receiver(i)) },
		"MessageSent":       func(i int) { MessageSent(receiver(i)) },
		"MessageFailed":     func(i int) { MessageFailed(receiver(i)) },
		"MessageDropped":    func(i int) { MessageDropped(receiver(i)) },
		"MessageWithheld":   func(i int) { MessageWithheld(receiver(i)) },
		"MessagesBehind":    func(i int) { MessagesBehind(receiver(i), i) },
		"MessagesFileBad":   func(i int) { MessagesFileBad(i%2 == 0) },
	}
}

// publicFunctions are those of this package, in order.
func publicFunctions(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, is := d.(*ast.FuncDecl); is && f.Recv == nil && f.Name.IsExported() {
				names = append(names, f.Name.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// series is how many there are of Lapse.
func series(t *testing.T) (n int) {
	t.Helper()
	labels := []string{"reason", "sink", "receiver"}
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "lapse_") {
			continue
		}
		for _, m := range family.GetMetric() {
			n += 1 + len(m.GetHistogram().GetBucket())
			for _, label := range m.GetLabel() {
				if !slices.Contains(labels, label.GetName()) {
					t.Errorf("%s has label %s=%q: who can choose what is in it?", family.GetName(), label.GetName(), label.GetValue())
				}
			}
		}
	}
	return n
}

func TestTheNumberOfSeriesIsFixed(t *testing.T) {
	all := driven(t)
	if called, public := slices.Sorted(maps.Keys(all)), publicFunctions(t); !slices.Equal(called, public) {
		t.Fatalf("the public functions are %v, and this test drives %v", public, called)
	}
	drive := func(rounds int) {
		for i := range rounds {
			for _, call := range all {
				call(i)
			}
		}
	}
	drive(len(reasons))
	before := series(t)
	drive(10_000)
	if after := series(t); after != before {
		t.Errorf("%d series became %d", before, after)
	}
}
