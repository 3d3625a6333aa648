// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package ending

import (
	"context"
	"errors"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/metrics"
	"github.com/lapse-dev/lapse/internal/seats"
	"github.com/lapse-dev/lapse/internal/unbind"
)

const (
	// quick seats are for all ends: writes wait for the API server, not for us.
	quick = 16
	// slow seats are for ends that hang. Each has two calls at the most, and with two
	// replicas all of them fit into the priority level of config/flowcontrol.
	slow = 32
	// slowAfter is how long an attempt takes that goes on on a slow seat.
	slowAfter = 500 * time.Millisecond
	// endTimeout bounds an attempt to end access: the API server gives a write 34 s, with
	// all webhooks.
	endTimeout = 36 * time.Second
	// endRetry is the longest pause between attempts to end access.
	endRetry = 5 * time.Second
	// maxDue bounds how many bindings are on their way to the queue from elsewhere.
	maxDue = 1024
)

// CacheOptions keep foreign RoleBindings out of a cache.
func CacheOptions() cache.Options {
	return cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject:         map[client.Object]cache.ByObject{&rbacv1.RoleBinding{}: {Label: binding.Selector()}},
	}
}

// setup adds to the manager what ends access: bindings at their deadline, and those in due.
func setup(mgr ctrl.Manager, r *reconciler, seated *seats.Seated, due chan event.GenericEvent) error {
	if err := metrics.Gauges(r.count(anyBinding), r.count(r.overdue), r.count(r.pinned), r.clock.Ahead); err != nil {
		return err
	}
	return errors.Join(
		mgr.Add(sweeper{r: r, due: due}),
		ctrl.NewControllerManagedBy(mgr).Named("expiry").
			WatchesRawSource(source.Kind(mgr.GetCache(), client.Object(&rbacv1.RoleBinding{}), r.atDeadline())).
			WatchesRawSource(source.Channel(due, handler.Funcs{GenericFunc: func(_ context.Context, e event.GenericEvent, q seats.Queue) { enqueue(e.Object, 0, endPriority, q) }})).
			WithOptions(controller.Options{
				MaxConcurrentReconciles: seated.Workers(), ReconciliationTimeout: endTimeout, NewQueue: seated.NewQueue,
				RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](5*time.Millisecond, endRetry),
			}).
			Complete(seated),
		setupEscaped(mgr, r),
	)
}

func newSeated(r *reconciler) *seats.Seated {
	return seats.New(r, seats.Options{
		Clock: clock.RealClock{}, Quick: quick, Slow: slow, Rest: slow / 4, SlowAfter: slowAfter, Urgent: r.urgent,
		Brief: unbind.Patience, Behind: behindPriority,
	})
}

func enqueue(obj client.Object, after time.Duration, priority int, q seats.Queue) {
	seats.Enqueue(q, priorityqueue.AddOpts{After: after, Priority: &priority}, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(obj)})
}

// atDeadline queues a binding for its deadline, so that a restart with many healthy
// grants looks at none of them.
func (r *reconciler) atDeadline() handler.EventHandler {
	add := func(obj client.Object, q seats.Queue) {
		if binding.Managed(obj) {
			priority := endPriority
			if len(obj.(*rbacv1.RoleBinding).Subjects) == 0 {
				priority = leftPriority
			}
			enqueue(obj, max(r.deadline(obj).Sub(r.clock.Now()), 0), priority, q)
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q seats.Queue) {
			r.memory.Add(e.Object.(*rbacv1.RoleBinding))
			add(e.Object, q)
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q seats.Queue) { add(e.ObjectNew, q) },
	}
}
