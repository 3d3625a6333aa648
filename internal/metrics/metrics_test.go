// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

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
