// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

func TestABurstIsManyEndsInASecond(t *testing.T) {
	start := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	b := &burst{}
	for range burstEnds - 1 {
		b.add(start)
	}
	if b.on(start) {
		t.Errorf("%d ends are a burst", burstEnds-1)
	}
	b.add(start)
	if !b.on(start.Add(burstWindow - 1)) {
		t.Errorf("%d ends in a second are no burst", burstEnds)
	}
	if b.on(start.Add(burstWindow)) {
		t.Error("a burst is not over when nothing ended for a second")
	}
}

func TestARecordGivesWayOnlyAfterADeadlineInABurst(t *testing.T) {
	end := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	active := v1alpha1.AccessRequestStatus{State: v1alpha1.StateActive, Grant: &v1alpha1.Grant{ExpiresAt: metav1.NewTime(end)}}
	for name, tc := range map[string]struct {
		now    time.Time
		status v1alpha1.AccessRequestStatus
		burst  bool
		want   bool
	}{
		"at the deadline, in a burst":            {end, active, true, true},
		"before the deadline":                    {end.Add(-1), active, true, false},
		"when it has waited long enough":         {end.Add(maxYield), active, true, false},
		"without a burst":                        {end, active, false, false},
		"a request that is not active":           {end, v1alpha1.AccessRequestStatus{State: v1alpha1.StatePending}, true, false},
		"a request that is over and knows of it": {end, v1alpha1.AccessRequestStatus{State: v1alpha1.StateExpired, Grant: active.Grant}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := &RequestReconciler{Ending: func() bool { return tc.burst }}
			if got := r.yields(tc.now, &v1alpha1.AccessRequest{Status: tc.status}); got != tc.want {
				t.Errorf("yields = %v, want %v", got, tc.want)
			}
		})
	}
}
