// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package ending

import (
	"context"
	"errors"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
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
)

const (
	// workers of a lane: writes wait for the API server, not for us.
	workers = 16
	// slowWorkers are many: nearly all of them wait.
	slowWorkers = 4 * workers
	// endRetry is the longest pause between attempts to end access.
	endRetry = 5 * time.Second
	// leftAfter is when an object is looked at first by which access has ended: the cache
	// knows that by then.
	leftAfter = time.Second
)

// CacheOptions keep foreign RoleBindings out of a cache.
func CacheOptions() cache.Options {
	return cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject:         map[client.Object]cache.ByObject{&rbacv1.RoleBinding{}: {Label: binding.Selector()}},
	}
}

// setup adds to the manager what ends access. Bindings come to the first lane, also those
// in due; the others have what is handed over.
func setup(mgr ctrl.Manager, r *reconciler, due chan event.GenericEvent) error {
	if err := metrics.Gauges(r.count(anyBinding), r.count(r.overdue), r.count(r.pinned), r.clock.Ahead); err != nil {
		return err
	}
	l := newLanes(r)
	return errors.Join(
		mgr.Add(sweeper{r: r, due: due}),
		newQueue(mgr, "expiry", due, 0, workers, onTimeTimeout+liveTimeout).
			WatchesRawSource(source.Kind(mgr.GetCache(), client.Object(&rbacv1.RoleBinding{}), r.atDeadline())).
			Complete(l.OnTime),
		newQueue(mgr, "expiry-slow", l.ToSlow, 0, slowWorkers, slowTimeout).Complete(l.Slow),
		newQueue(mgr, "expiry-left", l.ToLeft, leftAfter, workers, slowTimeout).Complete(l.Left),
		setupEscaped(mgr, r),
	)
}

func newQueue(mgr ctrl.Manager, name string, from <-chan event.GenericEvent, after time.Duration, workers int, timeout time.Duration) *builder.Builder {
	add := func(_ context.Context, e event.GenericEvent, q seats.Queue) {
		seats.Enqueue(q, priorityqueue.AddOpts{After: after, Priority: &endPriority}, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(e.Object)})
	}
	return ctrl.NewControllerManagedBy(mgr).Named(name).
		WatchesRawSource(source.Channel(from, handler.Funcs{GenericFunc: add})).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: workers, ReconciliationTimeout: timeout,
			RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](5*time.Millisecond, endRetry),
		})
}

// atDeadline queues a binding for its deadline, so that a restart with many healthy
// grants looks at none of them.
func (r *reconciler) atDeadline() handler.EventHandler {
	add := func(obj client.Object, q seats.Queue) {
		if binding.Managed(obj) {
			o := priorityqueue.AddOpts{After: max(r.deadline(obj).Sub(r.clock.Now()), 0), Priority: &endPriority}
			seats.Enqueue(q, o, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(obj)})
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
