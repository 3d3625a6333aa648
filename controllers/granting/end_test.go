// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/grant"
	"github.com/lapse-dev/lapse/internal/servertime"
)

func TestOnlyAnEndByTheDeadlineIsLeftToEndingAndNotForLong(t *testing.T) {
	end := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	expired := &grant.Outcome{Reason: v1alpha1.ReasonExpired}
	req := &v1alpha1.AccessRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "debug", UID: "6f1c2d3e-0000"}}
	for name, tc := range map[string]struct {
		now     time.Time
		outcome *grant.Outcome
		change  func(*rbacv1.RoleBinding)
		want    bool
	}{
		"at the deadline":                {now: end, outcome: expired, want: true},
		"before it":                      {now: end.Add(-1), outcome: expired},
		"when it has been too long":      {now: end.Add(leftToEnding), outcome: expired},
		"changed to be over":             {now: end, outcome: &grant.Outcome{Reason: v1alpha1.ReasonTampered}},
		"without its labels":             {now: end, outcome: expired, change: func(b *rbacv1.RoleBinding) { b.Labels = nil }},
		"held by a request that is over": {now: end},
		"what is left of the object, for ever": {
			now: end.Add(time.Hour), change: func(b *rbacv1.RoleBinding) { b.Subjects = nil }, want: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := binding.New(req, v1alpha1.Subject{}, "",
				v1alpha1.Grant{GrantedAt: metav1.NewTime(end.Add(-time.Hour)), ExpiresAt: metav1.NewTime(end)})
			b.Name, b.CreationTimestamp = v1alpha1.BindingPrefix+"debug-6f1c2d3e", metav1.NewTime(end.Add(-time.Hour))
			b.Subjects = []rbacv1.Subject{{Name: "alice"}}
			if tc.change != nil {
				tc.change(b)
			}
			r := &RequestReconciler{clock: servertime.New(clocktesting.NewFakeClock(tc.now)), settings: grant.Settings{MaxDuration: 24 * time.Hour}}
			if got := r.endsByItself(b, grant.Step{Outcome: tc.outcome}); got != tc.want {
				t.Errorf("left to ending = %v, want %v", got, tc.want)
			}
		})
	}
}

func TestARecordGivesWayOnlyAfterADeadlineWhileManyEnd(t *testing.T) {
	end := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	active := v1alpha1.AccessRequestStatus{State: v1alpha1.StateActive, Grant: &v1alpha1.Grant{ExpiresAt: metav1.NewTime(end)}}
	for name, tc := range map[string]struct {
		now    time.Time
		status v1alpha1.AccessRequestStatus
		many   bool
		want   bool
	}{
		"at the deadline, while many end": {end, active, true, true},
		"before the deadline":             {end.Add(-1), active, true, false},
		"when it has waited long enough":  {end.Add(maxYield), active, true, false},
		"while few end":                   {end, active, false, false},
		"a request that is not active":    {end, v1alpha1.AccessRequestStatus{State: v1alpha1.StatePending}, true, false},
		"a request that is over and knows of it": {
			end, v1alpha1.AccessRequestStatus{State: v1alpha1.StateExpired, Grant: active.Grant}, true, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := &RequestReconciler{busy: func() bool { return tc.many }}
			if got := r.yields(tc.now, &v1alpha1.AccessRequest{Status: tc.status}); got != tc.want {
				t.Errorf("yields = %v, want %v", got, tc.want)
			}
		})
	}
}
