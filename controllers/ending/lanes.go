// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package ending

import (
	"context"
	"errors"
	"fmt"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/seats"
)

const (
	// standbyDelay is how long a replica that is not the leader leaves an end to the leader.
	standbyDelay = 2 * time.Second
	// onTimeTimeout bounds an attempt to end access on time: what takes longer goes on in the
	// slow lane.
	onTimeTimeout = seats.SlowAfter
	// hasteTimeout bounds the same while the API server is slow in any namespace.
	hasteTimeout = time.Second
	// slowTimeout bounds an attempt in the slow lane: the API server gives a write 34 s, with
	// all webhooks.
	slowTimeout = 36 * time.Second
	// leftRetry is when an object that something keeps is looked at again, after access by
	// it ended.
	leftRetry = 5 * time.Second
	// handOvers bounds how many bindings are on their way to another lane.
	handOvers = 1024
)

// endPriority is above all else, and above what start-up gives.
var endPriority = 100

// Lanes are three queues of bindings with workers of their own, so that no access waits
// for calls that hang in another namespace, as where a webhook swallows them.
type Lanes struct {
	// OnTime ends what is due.
	OnTime reconcile.Reconciler
	// Slow ends what is due where the API server is slow, and comes from ToSlow.
	Slow   reconcile.Reconciler
	ToSlow chan event.GenericEvent
	// Left sees to what is left of objects by which nobody holds a role any more, and comes
	// from ToLeft.
	Left   reconcile.Reconciler
	ToLeft chan event.GenericEvent
}

// NewLanes are the lanes of all bindings that the client reads.
func NewLanes(o Options) Lanes { return newLanes(newReconciler(o)) }

func newLanes(r *reconciler) Lanes {
	slow := seats.NewSlow(r.clock.Here)
	l := Lanes{ToSlow: make(chan event.GenericEvent, handOvers), ToLeft: make(chan event.GenericEvent, handOvers)}
	l.OnTime = lane{r: r, remove: r.unbinder.Remove, slow: slow, toSlow: l.ToSlow, toLeft: l.ToLeft}
	l.Slow = seats.Share(lane{r: r, remove: r.unbinder.Insist, slow: slow, toLeft: l.ToLeft}, r.clock.Here, slow, slowWorkers, seats.Always)
	l.Left = seats.Share(lane{r: r, remove: r.unbinder.Remove, slow: slow}, r.clock.Here, slow, workers, seats.Never)
	return l
}

// lane is one of the three.
type lane struct {
	r      *reconciler
	remove remover
	// slow are the namespaces in which the API server is slow.
	slow seats.Slow
	// toSlow takes what took long and failed, and what is in a slow namespace; nil if this
	// is the slow lane or the last one.
	toSlow chan<- event.GenericEvent
	// toLeft takes what is left of objects; nil if this is the last lane.
	toLeft chan<- event.GenericEvent
}

// Reconcile looks at one binding.
func (l lane) Reconcile(ctx context.Context, key ctrl.Request) (ctrl.Result, error) {
	b := &rbacv1.RoleBinding{}
	if err := l.r.client.Get(ctx, key.NamespacedName, b); err != nil || !binding.Managed(b) {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	now, due := l.r.clock.Now(), l.r.deadline(b)
	if !l.r.leading() {
		due = due.Add(standbyDelay)
	}
	if now.Before(due) && !l.r.orphaned(ctx, b) {
		return ctrl.Result{RequeueAfter: max(due.Sub(now), time.Millisecond), Priority: &endPriority}, nil
	}
	if to := l.elsewhere(b); to != nil {
		return handOver(to, b)
	}
	left, slow, err := l.attempt(ctx, b)
	switch {
	case slow:
		return handOver(l.toSlow, b)
	case err != nil:
		return ctrl.Result{Priority: &endPriority}, err
	}
	if len(b.Subjects) > 0 {
		l.r.announce(ctx, b, left == nil)
	}
	switch {
	case left == nil:
		return ctrl.Result{}, nil
	case l.toLeft != nil:
		return handOver(l.toLeft, b)
	default:
		return ctrl.Result{RequeueAfter: leftRetry, Priority: &endPriority}, nil
	}
}

// elsewhere is the lane of a binding whose access has to end; nil is this one.
func (l lane) elsewhere(b *rbacv1.RoleBinding) chan<- event.GenericEvent {
	switch {
	case len(b.Subjects) == 0:
		return l.toLeft
	case l.slow.In(b.Namespace):
		return l.toSlow
	default:
		return nil
	}
}

// attempt ends access, and says whether it has to go on in the slow lane.
func (l lane) attempt(ctx context.Context, b *rbacv1.RoleBinding) (left *rbacv1.RoleBinding, slow bool, err error) {
	owner := binding.OwnerOf(b)
	if l.toSlow == nil {
		left, err = l.r.end(ctx, b, owner, l.remove)
		return left, false, err
	}
	timeout := onTimeTimeout
	if l.slow.Anywhere() {
		timeout = hasteTimeout
	}
	begun := l.r.clock.Here.Now()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	left, err = l.r.end(ctx, b, owner, l.remove)
	if errors.Is(ctx.Err(), context.Canceled) || l.r.clock.Here.Since(begun) < hasteTimeout/2 {
		return left, false, err
	}
	l.slow.Add(b.Namespace)
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
