// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/grant"
	"github.com/lapse-dev/lapse/internal/seats"
)

// turns queue requests when they change. A new one stands one place further back for each
// request that its requester has without an answer, so that nobody who makes many keeps
// others waiting.
type turns struct {
	mu sync.Mutex
	// requests there are, of each requester.
	requests map[counted]int
}

// counted are requests of one requester that stand alike.
type counted struct {
	requester string
	standing  standing
}

type standing int

const (
	notCounted standing = iota
	// unanswered is one that nobody has looked at.
	unanswered
	// waiting is one with an answer that is not the last.
	waiting
	// neverHeld is one that is over, by which nobody ever held anything.
	neverHeld
)

const (
	// lastTurn is the lowest priority of a request without an answer. Whoever has very many
	// comes even after what is judged again.
	lastTurn = -120
	// forgetAtOnce is how many requests are deleted in one attempt at another one.
	forgetAtOnce = 10
)

func newTurns() *turns { return &turns{requests: map[counted]int{}} }

func (t *turns) handler() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q seats.Queue) {
			enqueue(e.Object, t.priority(e.Object), q)
			t.count(e.Object, 1)
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q seats.Queue) {
			t.count(e.ObjectOld, -1)
			priority := t.priority(e.ObjectNew)
			if held(e.ObjectOld) {
				priority = &endFirst
			}
			enqueue(e.ObjectNew, priority, q)
			t.count(e.ObjectNew, 1)
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q seats.Queue) {
			enqueue(e.Object, t.priority(e.Object), q)
			t.count(e.Object, -1)
		},
	}
}

func enqueue(obj client.Object, priority *int, q seats.Queue) {
	seats.Enqueue(q, priorityqueue.AddOpts{Priority: priority}, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(obj)})
}

// priority of a request that changed, or was made.
func (t *turns) priority(obj client.Object) *int {
	req := obj.(*v1alpha1.AccessRequest)
	if held(req) {
		return &endFirst
	}
	switch standingOf(req) {
	case unanswered:
		turn := max(-t.of(req, unanswered), lastTurn)
		return &turn
	case waiting:
		return &judgedAgain
	case neverHeld, notCounted:
	}
	return nil
}

// of is how many of the requests of who made this one stand so, as far as the informer
// knows.
func (t *turns) of(req *v1alpha1.AccessRequest, s standing) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.requests[counted{requesterOf(req), s}]
}

func (t *turns) count(obj client.Object, n int) {
	req := obj.(*v1alpha1.AccessRequest)
	c := counted{requesterOf(req), standingOf(req)}
	if c.standing == notCounted {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.requests[c] += n; t.requests[c] <= 0 {
		delete(t.requests, c)
	}
}

func standingOf(req *v1alpha1.AccessRequest) standing {
	switch {
	case req.Status.State == "":
		return unanswered
	case grant.NeverHeld(req):
		return neverHeld
	case !held(req) && !req.Status.State.Final():
		return waiting
	default:
		return notCounted
	}
}

func requesterOf(req *v1alpha1.AccessRequest) string {
	if req.Spec.Requester == nil {
		return ""
	}
	return req.Spec.Requester.Username
}

// forgetSurplus deletes the oldest refused requests of who made this one, if there are many.
func (r *RequestReconciler) forgetSurplus(ctx context.Context, req *v1alpha1.AccessRequest) error {
	if r.settings.Retention <= 0 || r.turns.of(req, neverHeld) < grant.MaxRefused {
		return nil
	}
	var his []*v1alpha1.AccessRequest
	for _, state := range []v1alpha1.RequestState{v1alpha1.StateDenied, v1alpha1.StateReturned} {
		list := &v1alpha1.AccessRequestList{}
		if err := r.client.List(ctx, list, client.MatchingFields{stateField: string(state)}, client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("listing requests that were refused: %w", err)
		}
		for i := range list.Items {
			if other := &list.Items[i]; requesterOf(other) == requesterOf(req) && grant.Forgettable(other) {
				his = append(his, other)
			}
		}
	}
	var failed []error
	surplus := slices.DeleteFunc(grant.Surplus(his), func(old *v1alpha1.AccessRequest) bool { return r.forgotten.Has(old.UID) })
	for _, old := range surplus[:min(len(surplus), forgetAtOnce)] {
		r.forgotten.Add(old.UID)
		if err := client.IgnoreNotFound(r.client.Delete(ctx, old, client.Preconditions{UID: &old.UID})); err != nil {
			r.forgotten.Remove(old.UID)
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}
