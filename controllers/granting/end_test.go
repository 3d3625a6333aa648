// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

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
