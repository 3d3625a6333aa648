// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/test/builders"
)

func TestEachChangeOfARoleHasATimeOfItsOwn(t *testing.T) {
	grew := func(message string) *policy.RoleChange {
		return &policy.RoleChange{Reason: v1alpha1.ReasonRoleGrew, Message: message}
	}
	long := strings.Repeat("get on secrets; ", maxMessage)
	noon := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	req := builders.Request("drifts").Build()
	for i, tc := range []struct {
		change *policy.RoleChange
		since  int // the number of the look, -1 for none
	}{
		{grew("get on secrets"), 0},
		{grew("get on secrets"), 0},
		{nil, 0}, // it could not be read
		{grew("list on secrets"), 3},
		{&policy.RoleChange{Reason: v1alpha1.ReasonRoleReplaced, Message: "list on secrets"}, 4},
		{&policy.RoleChange{}, -1},
		{grew("get on secrets"), 6},
		{grew(long), 7},
		{grew(long), 7},
	} {
		setRoleChanged(noon.Add(time.Duration(i)*time.Minute), req, tc.change)
		c := meta.FindStatusCondition(req.Status.Conditions, v1alpha1.ConditionRoleChanged)
		if tc.since < 0 {
			if c != nil {
				t.Errorf("%d: it is as it was, and said is %q", i, c.Message)
			}
			continue
		}
		if want := noon.Add(time.Duration(tc.since) * time.Minute); c == nil || !c.LastTransitionTime.Time.Equal(want) {
			t.Errorf("%d: %+v, want it since %s", i, c, want)
		}
	}
}
