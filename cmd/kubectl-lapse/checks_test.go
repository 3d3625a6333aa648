// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io/fs"
	"regexp"
	"slices"
	"testing"

	"github.com/lapse-dev/lapse/config/admission"
)

func TestDoctorKnowsEveryValidatingPolicyThatShips(t *testing.T) {
	policy := regexp.MustCompile(`(?m)^kind: ValidatingAdmissionPolicy\nmetadata:\n  name: (\S+)$`)
	files, err := fs.Glob(admission.Files, "*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var shipped []string
	for _, name := range files {
		data, err := fs.ReadFile(admission.Files, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range policy.FindAllSubmatch(data, -1) {
			shipped = append(shipped, string(match[1]))
		}
	}
	known := slices.Sorted(slices.Values(guards))
	slices.Sort(shipped)
	if len(shipped) == 0 || !slices.Equal(known, shipped) {
		t.Errorf("doctor looks for %v, and these ship: %v", known, shipped)
	}
}
