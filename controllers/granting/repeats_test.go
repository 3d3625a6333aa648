// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

// cached shows whether a request has a binding, and whether somebody decided on it.
type cached struct {
	client.Client
	bound, decided bool
}

func (c cached) Get(_ context.Context, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	if c.bound {
		return nil
	}
	return apierrors.NewNotFound(schema.GroupResource{Group: rbacv1.GroupName, Resource: "rolebindings"}, key.Name)
}

func (c cached) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	if c.decided {
		list.(*v1alpha1.AccessDecisionList).Items = []v1alpha1.AccessDecision{*builders.Decision("yes", by("alice", ""), v1alpha1.VerdictApprove)}
	}
	return nil
}

func TestWhatWaitsKeepsNoSeatUntilItIsJudgedAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		state   v1alpha1.RequestState
		cached  cached
		waiting int32
		want    bool
	}{
		"few wait":                            {v1alpha1.StatePending, cached{}, waitingRepeats - 1, false},
		"many wait":                           {v1alpha1.StatePending, cached{}, waitingRepeats, true},
		"many wait, and it failed":            {v1alpha1.StateFailed, cached{}, waitingRepeats, true},
		"many wait, and it had no answer yet": {"", cached{}, waitingRepeats, false},
		"many wait, and access is held":       {v1alpha1.StateActive, cached{}, waitingRepeats, false},
		"many wait, and access may be held":   {v1alpha1.StateFailed, cached{bound: true}, decidedRepeats, false},
		"many wait, and somebody decided":     {v1alpha1.StatePending, cached{decided: true}, decidedRepeats - 1, false},
		"too many wait of which that is so":   {v1alpha1.StatePending, cached{decided: true}, decidedRepeats, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := &RequestReconciler{client: tc.cached, judges: judges{repeats: newRepeats()}}
			r.judges.repeats.waiting.Store(tc.waiting)
			if got := r.crowded(t.Context(), by("alice", tc.state)); got != tc.want {
				t.Errorf("crowded = %v, want %v", got, tc.want)
			}
		})
	}
}

func TestWhoFoundTooManyComesBackOneAfterTheOther(t *testing.T) {
	r, now := newRepeats(), time.Now()
	for i := range 3 {
		if got, want := r.comeBack(now), time.Duration(i+1)*judgePace; got != want {
			t.Errorf("number %d comes back after %s, want %s", i, got, want)
		}
	}
	if got := r.comeBack(now.Add(time.Hour)); got != judgePace {
		t.Errorf("an hour later: %s", got)
	}
}

func TestWhoTakesHisTurnCountsUntilHeHasIt(t *testing.T) {
	r := newRepeats()
	done, err := r.take(t.Context())
	if err != nil || r.waiting.Load() != 0 {
		t.Fatalf("%v, %d wait", err, r.waiting.Load())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.take(ctx); err == nil || r.waiting.Load() != 0 {
		t.Errorf("err = %v, %d wait", err, r.waiting.Load())
	}
	done()
	if _, err := r.take(t.Context()); err != nil {
		t.Error(err)
	}
}
