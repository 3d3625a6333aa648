// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/text"
)

// A manifest that may be applied for years would give access again each time that its record
// is gone.
func TestNotAfterIsBounded(t *testing.T) {
	made, decision := request().CreationTimestamp.Time, allows
	decision.MaxDuration = 4 * time.Hour
	latest := made.Add(30*24*time.Hour + 4*time.Hour)
	req := request()
	req.Spec.NotAfter = &metav1.Time{Time: latest}
	check(t, next(t, noon, req, decision, Observed{Admission: inForce}), Create, v1alpha1.StateActive, v1alpha1.ReasonGranted)
	req.Spec.NotAfter = &metav1.Time{Time: latest.Add(time.Second)}
	step := next(t, noon, req, decision, Observed{Admission: inForce})
	check(t, step, Nothing, v1alpha1.StateDenied, v1alpha1.ReasonDenied)
	want := "notAfter " + text.Time(latest.Add(time.Second)) + " is later than " + text.Time(latest) + ", which is 30 days and the longest " +
		"access (4h) after the request was made; create one with an earlier notAfter"
	if step.Outcome.Message != want {
		t.Errorf("message = %q, want %q", step.Outcome.Message, want)
	}
	// What runs goes on, whatever its request names.
	held, b := active(t)
	held.Spec.NotAfter = req.Spec.NotAfter
	check(t, next(t, noon, held, decision, Observed{Admission: inForce, Binding: b}), Nothing, "", "")
}

// Who one was, and in which groups, was true when the request was made.
func TestWhoOneWasCountsForABoundedTime(t *testing.T) {
	approved := allows
	approved.Approvals, approved.ApprovalTimeout = []v1alpha1.ApprovalRule{{Count: 1}}, 2*time.Hour
	planned := metav1.NewTime(noon.Add(30 * 24 * time.Hour))
	for name, tc := range map[string]struct {
		decision  policy.Decision
		notBefore *metav1.Time
		until     time.Duration
	}{
		"a day":                               {allows, nil, 24 * time.Hour},
		"the approval timeout and a day":      {approved, nil, 26 * time.Hour},
		"31 days, for what was planned for":   {allows, &planned, 31 * 24 * time.Hour},
		"31 days, if people approved it, too": {approved, &planned, 31 * 24 * time.Hour},
	} {
		req := request()
		req.Spec.NotBefore = tc.notBefore
		if why := untimely(noon.Add(tc.until), req, tc.decision); why != "" {
			t.Errorf("%s: %s", name, why)
		}
		if untimely(noon.Add(tc.until+time.Second), req, tc.decision) == "" {
			t.Errorf("%s: it is granted a second later, too", name)
		}
	}
	req, later := request(), metav1.NewTime(planned.Add(time.Second))
	req.Spec.NotBefore = &later
	if untimely(noon, req, allows) == "" {
		t.Error("it is planned for later than in 30 days")
	}
}
