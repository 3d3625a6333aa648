// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

const (
	// endTimeout bounds an attempt to end access on time, and hasteTimeout one while it is
	// slow anywhere: whatever takes longer goes on in the slow lane.
	endTimeout   = slowAfter
	hasteTimeout = time.Second
	// slowTimeout bounds one there: the API server gives a write 34 s, with all webhooks.
	slowTimeout = 36 * time.Second
	// slowWorkers are many: nearly all of them wait.
	slowWorkers = 4 * workers
	// restAfter is when an object is looked at of which only the rest is left: the cache
	// knows that by then.
	restAfter = time.Second
)

// lane is a queue of bindings with workers of its own. There are three, so that no access
// waits for calls that hang elsewhere, as where a webhook swallows them: one for what is
// on time, one for where the API server is slow, and one for what is left of objects that
// nobody holds a role by any more. The zero lane is the only one.
type lane struct {
	*ExpiryReconciler
	// patience with a deletion; zero is without end.
	patience time.Duration
	// slow takes what took long and failed, and what is in a namespace where something did:
	// slowIn are these.
	slow   chan<- event.GenericEvent
	slowIn slowIn
	// rest takes what is left of objects.
	rest chan<- event.GenericEvent
}

// setupLanes adds the three. Bindings come to the first, also those in due; the others
// have what is handed over.
func setupLanes(mgr ctrl.Manager, r *ExpiryReconciler, due <-chan event.GenericEvent) error {
	slow, rest, slowIn := make(chan event.GenericEvent, cap(due)), make(chan event.GenericEvent, cap(due)), newSlowIn(r.Clock)
	onTime := lane{ExpiryReconciler: r, slow: slow, slowIn: slowIn, rest: rest}
	late := newFair(lane{ExpiryReconciler: r, patience: patience, rest: rest}, r.Clock, slowIn, slowWorkers, allUrgent)
	last := newFair(lane{ExpiryReconciler: r}, r.Clock, slowIn, workers, nil)
	return errors.Join(
		newLane(mgr, "expiry", due, 0, workers, endTimeout+liveTimeout).
			WatchesRawSource(source.Kind(mgr.GetCache(), client.Object(&rbacv1.RoleBinding{}), r.atDeadline())).
			Complete(onTime),
		newLane(mgr, "expiry-slow", slow, 0, slowWorkers, slowTimeout).Complete(late),
		newLane(mgr, "expiry-rest", rest, restAfter, workers, slowTimeout).Complete(last),
	)
}

func allUrgent(context.Context, ctrl.Request) bool { return true }

func newLane(mgr ctrl.Manager, name string, from <-chan event.GenericEvent, after time.Duration, workers int, timeout time.Duration) *builder.Builder {
	add := func(_ context.Context, e event.GenericEvent, q queue) {
		enqueue(q, priorityqueue.AddOpts{After: after, Priority: &expiryPriority}, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(e.Object)})
	}
	return ctrl.NewControllerManagedBy(mgr).Named(name).
		WatchesRawSource(source.Channel(from, handler.Funcs{GenericFunc: add})).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: workers, ReconciliationTimeout: timeout,
			RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](5*time.Millisecond, endRetry),
		})
}

// elsewhere is the lane that a binding belongs into, whose access is over; nil is this one.
func (l lane) elsewhere(b *rbacv1.RoleBinding) chan<- event.GenericEvent {
	switch {
	case len(b.Subjects) == 0:
		return l.rest
	case l.slow != nil && l.slowIn.has(b.Namespace):
		return l.slow
	default:
		return nil
	}
}

// attempt ends access, and says whether it has to go on in the slow lane.
func (l lane) attempt(ctx context.Context, b *rbacv1.RoleBinding) (left *rbacv1.RoleBinding, slow bool, err error) {
	if l.slow == nil {
		left, err = l.end(ctx, b, requestOf(b), l.patience)
		return left, false, err
	}
	timeout := endTimeout
	if l.slowIn.has(anywhere) {
		timeout = hasteTimeout
	}
	begun := l.Clock.Now()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	left, err = l.end(ctx, b, requestOf(b), l.patience)
	if errors.Is(ctx.Err(), context.Canceled) || l.Clock.Since(begun) < hasteTimeout/2 {
		return left, false, err
	}
	l.slowIn.add(b.Namespace)
	if err == nil {
		return left, false, nil
	}
	log.FromContext(ctx).Info("the API server does not answer in time, and other namespaces go first; look for a webhook for RoleBindings that does not answer", "error", err.Error())
	return nil, true, nil
}

func handOver(to chan<- event.GenericEvent, b *rbacv1.RoleBinding) (ctrl.Result, error) {
	select {
	case to <- event.GenericEvent{Object: b}:
		return ctrl.Result{}, nil
	default:
		return ctrl.Result{}, fmt.Errorf("more than %d bindings are being handed to other workers; it is tried again", cap(to))
	}
}
