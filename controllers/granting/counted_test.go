// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/grant"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/hostile"
)

// waited is how often, and for how long together, approvals were waited for.
func waited(t *testing.T) (count uint64, seconds float64) {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "lapse_approval_wait_seconds" {
			h := f.GetMetric()[0].GetHistogram()
			return h.GetSampleCount(), h.GetSampleSum()
		}
	}
	t.Fatal("it is not counted")
	return 0, 0
}

func TestTheTimeToTheLastApprovalIsCountedOnceOfEachRequestThatWasGranted(t *testing.T) {
	now := time.Date(2026, 11, 29, 6, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) v1alpha1.Approval { return v1alpha1.Approval{Time: metav1.NewTime(now.Add(-d))} }
	held := &v1alpha1.Grant{Binding: "lapse-debug-1"}
	for name, tc := range map[string]struct {
		outcome grant.Outcome
		count   uint64
		seconds float64
	}{
		"granted by two: to the last of them": {grant.Outcome{
			State: v1alpha1.StateActive, Reason: v1alpha1.ReasonGranted, Grant: held,
			Approvals: []v1alpha1.Approval{ago(3 * time.Minute), ago(8 * time.Minute)},
		}, 1, 7 * 60},
		"granted by one in the second of asking": {grant.Outcome{
			State: v1alpha1.StateActive, Reason: v1alpha1.ReasonGranted, Grant: held,
			Approvals: []v1alpha1.Approval{ago(10 * time.Minute)},
		}, 1, 0},
		"granted by nobody's word": {grant.Outcome{State: v1alpha1.StateActive, Reason: v1alpha1.ReasonGranted, Grant: held}, 0, 0},
		"one approval of two": {grant.Outcome{
			State: v1alpha1.StatePending, Reason: v1alpha1.ReasonPendingApproval,
			Approvals: []v1alpha1.Approval{ago(time.Minute)},
		}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := &RequestReconciler{recorder: &recorded{}}
			count, seconds := waited(t)
			req := builders.Request("debug").Build()
			req.CreationTimestamp = metav1.NewTime(now.Add(-10 * time.Minute))
			ended := tc.outcome
			ended.State, ended.Reason = v1alpha1.StateRevoked, v1alpha1.ReasonRevoked
			for _, o := range []*grant.Outcome{&tc.outcome, &tc.outcome, &ended} {
				old := req.DeepCopy()
				setStatus(now, req, o)
				r.announce(t.Context(), old, req)
			}
			countNow, secondsNow := waited(t)
			if countNow-count != tc.count || secondsNow-seconds != tc.seconds {
				t.Errorf("%d waited %v s, want %d and %v s", countNow-count, secondsNow-seconds, tc.count, tc.seconds)
			}
		})
	}
}

// series is how many there are, with each bucket of a histogram.
func series(t *testing.T) (n int) {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			n += 1 + len(m.GetHistogram().GetBucket())
		}
	}
	return n
}

func TestTenThousandUsersAddNoSeries(t *testing.T) {
	r := &RequestReconciler{recorder: &recorded{}}
	written, before := hostile.Strings(t), series(t)
	for i := range 10_000 {
		name := fmt.Sprintf("user-%d%s", i, written[i%len(written)])
		reason := v1alpha1.ReasonGranted
		if i%2 == 0 {
			reason = v1alpha1.ReasonDenied
		}
		old := builders.Request(name).In(name).By(name).To(builders.User(name)).ForClusterRole(name).Build()
		req := old.DeepCopy()
		setStatus(time.Time{}, req, &grant.Outcome{
			State: v1alpha1.StateActive, Reason: reason, Message: name, Policy: &v1alpha1.PolicyReference{Name: name},
			Grant: &v1alpha1.Grant{Binding: name}, Approvals: []v1alpha1.Approval{{Reviewer: name, Time: metav1.Unix(1, 0)}},
		})
		r.announce(t.Context(), old, req)
	}
	if after := series(t); after != before {
		t.Errorf("%d series became %d", before, after)
	}
}

// policies are all that a client lists.
type policies struct {
	client.Client
	items []v1alpha1.AccessPolicy
	err   error
}

func (p policies) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	list.(*v1alpha1.AccessPolicyList).Items = p.items
	return p.err
}

func TestAPolicyIsReadyOnlyAsItIsNow(t *testing.T) {
	policy := func(generation int64, conditions ...metav1.Condition) v1alpha1.AccessPolicy {
		p := builders.Policy("oncall").Build()
		p.Generation, p.Status.Conditions = generation, conditions
		return *p
	}
	ready := func(status metav1.ConditionStatus) metav1.Condition {
		return metav1.Condition{Type: v1alpha1.ConditionReady, Status: status, ObservedGeneration: 2}
	}
	for name, tc := range map[string]struct {
		client policies
		want   float64
	}{
		"there is none":            {policies{}, 0},
		"it is in force":           {policies{items: []v1alpha1.AccessPolicy{policy(2, ready(metav1.ConditionTrue))}}, 0},
		"it allows nothing":        {policies{items: []v1alpha1.AccessPolicy{policy(2, ready(metav1.ConditionFalse))}}, 1},
		"nobody looked yet":        {policies{items: []v1alpha1.AccessPolicy{policy(2)}}, 1},
		"it was changed since":     {policies{items: []v1alpha1.AccessPolicy{policy(3, ready(metav1.ConditionTrue))}}, 1},
		"nobody can tell how many": {policies{err: errors.New("the cache is not started")}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (&PolicyReconciler{client: tc.client}).notReady(); got != tc.want {
				t.Errorf("%v policies are not ready, want %v", got, tc.want)
			}
		})
	}
}
