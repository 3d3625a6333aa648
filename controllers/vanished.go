// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/lapse-dev/lapse/internal/grant"
)

const (
	// vanishedDelay is when a binding that vanished is looked for: the leader has
	// taken most of those away by then whose labels were taken off.
	vanishedDelay = time.Second
	// vanishedWorkers are few: nearly all that vanished was deleted, and ten thousand
	// looks must not get into the way of what is due.
	vanishedWorkers = workers / 2
)

// vanished is a managed binding, as it was last seen, that the informer does not show
// as such any more. The informer selects by label: the binding was deleted, or only
// stripped of its labels, and then goes on giving access.
type vanished struct {
	key      client.ObjectKey
	uid      types.UID
	by       requestKey
	deadline time.Time
}

func (r *ExpiryReconciler) vanishedOf(b *rbacv1.RoleBinding) vanished {
	return vanished{key: client.ObjectKeyFromObject(b), uid: b.UID, by: requestOf(b), deadline: r.deadline(b)}
}

// is says whether a binding still is what was last seen, or ends even earlier.
func (v vanished) is(r *ExpiryReconciler, b *rbacv1.RoleBinding) bool {
	return grant.Managed(b) && requestOf(b) == v.by && !r.deadline(b).After(v.deadline)
}

// vanishedReconciler ends the access of bindings that were made to vanish, or to last.
// It runs on every replica and needs no request: that may be gone, too.
type vanishedReconciler struct{ *ExpiryReconciler }

func setupVanished(mgr ctrl.Manager, expiry *ExpiryReconciler) error {
	r := vanishedReconciler{expiry}
	return builder.TypedControllerManagedBy[vanished](mgr).Named("vanished").
		WatchesRawSource(source.TypedKind(mgr.GetCache(), &rbacv1.RoleBinding{}, r.events())).
		WithOptions(controller.TypedOptions[vanished]{
			MaxConcurrentReconciles: vanishedWorkers, ReconciliationTimeout: slowTimeout,
			RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[vanished](5*time.Millisecond, endRetry),
		}).
		Complete(r)
}

// events queues what vanished, by a queue of its own.
func (r vanishedReconciler) events() handler.TypedEventHandler[*rbacv1.RoleBinding, vanished] {
	add := func(last *rbacv1.RoleBinding, q workqueue.TypedRateLimitingInterface[vanished]) {
		after := vanishedDelay
		if !r.Leading() {
			after += standbyDelay // the leader knows the reason, and records it
		}
		q.AddAfter(r.vanishedOf(last), after)
	}
	return handler.TypedFuncs[*rbacv1.RoleBinding, vanished]{
		DeleteFunc: func(_ context.Context, e event.TypedDeleteEvent[*rbacv1.RoleBinding], q workqueue.TypedRateLimitingInterface[vanished]) {
			if grant.Managed(e.Object) {
				add(e.Object, q)
			}
		},
		UpdateFunc: func(_ context.Context, e event.TypedUpdateEvent[*rbacv1.RoleBinding], q workqueue.TypedRateLimitingInterface[vanished]) {
			if grant.Managed(e.ObjectOld) && !r.vanishedOf(e.ObjectOld).is(r.ExpiryReconciler, e.ObjectNew) {
				add(e.ObjectOld, q)
			}
		},
	}
}

// Reconcile looks at what vanished once, past the cache, and until that and the end of
// access succeed.
func (r vanishedReconciler) Reconcile(ctx context.Context, v vanished) (ctrl.Result, error) {
	if r.removed.has(v.uid) {
		return ctrl.Result{}, nil
	}
	live := &rbacv1.RoleBinding{}
	err := r.Live.Get(ctx, v.key, live)
	switch {
	case apierrors.IsNotFound(err):
		return ctrl.Result{}, nil
	case err != nil:
		return ctrl.Result{}, fmt.Errorf("looking for RoleBinding %s, which is not seen any more: %w", v.key, err)
	case live.UID != v.uid, v.is(r.ExpiryReconciler, live): // an informer may have been shown an old list
		return ctrl.Result{}, nil
	}
	left, err := r.end(ctx, live, v.by, patience)
	if err != nil {
		return ctrl.Result{}, err
	}
	log.FromContext(ctx).Info("access ended: somebody had taken the labels or annotations of Lapse off its RoleBinding, or changed them",
		"binding", v.key, "request", v.by.Name, "deadline", v.deadline, "gone", left == nil)
	return ctrl.Result{}, nil
}
