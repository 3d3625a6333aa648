// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"testing"
	"time"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// unsynced is the cache of an operator that stops before it knows what there is.
type unsynced struct{ client.Client }

func (unsynced) Get(ctx context.Context, _ client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestADecisionKeepsNoOperatorFromStopping(t *testing.T) {
	r := &RequestReconciler{client: unsynced{}, turns: newTurns()}
	ctx, stop := context.WithCancel(t.Context())
	q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer q.ShutDown()
	done := make(chan struct{})
	go func() {
		defer close(done)
		d := &v1alpha1.AccessDecision{Spec: v1alpha1.AccessDecisionSpec{Verdict: v1alpha1.VerdictDeny}}
		r.byDecision().Create(ctx, event.CreateEvent{Object: d}, q)
	}()
	stop()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("what looks at decisions goes on after the operator was stopped")
	}
}

// Else whoever made many would stand before everybody after each gap in admission.
func TestWhatWaitedForAdmissionStandsBehindWhoHadNoAnswerYet(t *testing.T) {
	q := priorityqueue.New[reconcile.Request]("test")
	defer q.ShutDown()
	waits := func(context.Context, client.Object) []reconcile.Request { return make([]reconcile.Request, 1) }
	behind(waits).Generic(t.Context(), event.GenericEvent{Object: &v1alpha1.AccessRequest{}}, q)
	if _, priority, _ := q.GetWithPriority(); priority != judgedAgain {
		t.Errorf("its priority is %d, want %d", priority, judgedAgain)
	}
}

func TestWhatFailedIsJudgedAgainBehindWhoHadNoAnswerYet(t *testing.T) {
	for _, tc := range []struct {
		state v1alpha1.RequestState
		want  int
	}{
		{v1alpha1.StateActive, endFirst},
		{v1alpha1.StateFailed, judgedAgain},
		{v1alpha1.StatePending, endLast},
		{v1alpha1.StateScheduled, endLast},
	} {
		if got := *priorityOf(by("alice", tc.state)); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.state, got, tc.want)
		}
	}
}
