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

// alert is how docs/operations.md alerts on reasons.
var alert = regexp.MustCompile(`increase\(lapse_request_outcomes_total\{reason=~?"([^"]+)"\}`)

func TestWhatIsAlertedOnIsThereBeforeItHappens(t *testing.T) {
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	alerted := make([]string, 0, len(alerting))
	for _, found := range alert.FindAllStringSubmatch(string(page), -1) {
		alerted = append(alerted, strings.Split(strings.ReplaceAll(found[1], `\`, ""), "|")...)
	}
	if len(alerted) < len(alerting) {
		t.Fatalf("the page alerts on %v; it is read wrongly", alerted)
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
