// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package ending

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

	"github.com/lapse-dev/lapse/internal/binding"
)

const (
	// escapedDelay is how long after a binding escaped it is looked for. By then the leader
	// has taken most of those away that only lost their labels.
	escapedDelay = time.Second
	// escapedWorkers are few: nearly all that the informer shows no more was deleted, and
	// ten thousand looks must not get into the way of what is due.
	escapedWorkers = quick / 2
)

// escaped is a managed binding, as it was last seen, that the informer does not show as
// such any more. The informer selects by label: the binding was deleted, or it was only
// stripped of its labels and goes on giving access.
type escaped struct {
	key      client.ObjectKey
	uid      types.UID
	owner    binding.Owner
	deadline time.Time
}

func (r *reconciler) escapedOf(b *rbacv1.RoleBinding) escaped {
	return escaped{key: client.ObjectKeyFromObject(b), uid: b.UID, owner: binding.OwnerOf(b), deadline: r.deadline(b)}
}

// is says whether a binding still is what was last seen, or ends even earlier.
func (e escaped) is(r *reconciler, b *rbacv1.RoleBinding) bool {
	return binding.Managed(b) && binding.OwnerOf(b) == e.owner && !r.deadline(b).After(e.deadline)
}

// pursuer ends the access of bindings that escaped, or were made to last. It runs on every
// replica and needs no request: that may be gone, too.
type pursuer struct{ r *reconciler }

func setupEscaped(mgr ctrl.Manager, r *reconciler) error {
	p := pursuer{r}
	return builder.TypedControllerManagedBy[escaped](mgr).Named("escaped").
		WatchesRawSource(source.TypedKind(mgr.GetCache(), &rbacv1.RoleBinding{}, p.events())).
		WithOptions(controller.TypedOptions[escaped]{
			MaxConcurrentReconciles: escapedWorkers, ReconciliationTimeout: endTimeout,
			RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[escaped](5*time.Millisecond, endRetry),
		}).
		Complete(p)
}

// events queues what escaped, by a queue of its own.
func (p pursuer) events() handler.TypedEventHandler[*rbacv1.RoleBinding, escaped] {
	add := func(last *rbacv1.RoleBinding, q workqueue.TypedRateLimitingInterface[escaped]) {
		after := escapedDelay
		if !p.r.leading() {
			after += standbyDelay // the leader knows the reason, and records it
		}
		q.AddAfter(p.r.escapedOf(last), after)
	}
	return handler.TypedFuncs[*rbacv1.RoleBinding, escaped]{
		DeleteFunc: func(_ context.Context, e event.TypedDeleteEvent[*rbacv1.RoleBinding], q workqueue.TypedRateLimitingInterface[escaped]) {
			if binding.Managed(e.Object) {
				add(e.Object, q)
			}
		},
		UpdateFunc: func(_ context.Context, e event.TypedUpdateEvent[*rbacv1.RoleBinding], q workqueue.TypedRateLimitingInterface[escaped]) {
			if binding.Managed(e.ObjectOld) && !p.r.escapedOf(e.ObjectOld).is(p.r, e.ObjectNew) {
				add(e.ObjectOld, q)
			}
		},
	}
}

// Reconcile looks at what escaped once, past the cache, and until that and the end of
// access succeed.
func (p pursuer) Reconcile(ctx context.Context, e escaped) (ctrl.Result, error) {
	if p.r.removed.Has(e.uid) {
		return ctrl.Result{}, nil
	}
	live := &rbacv1.RoleBinding{}
	err := p.r.live.Get(ctx, e.key, live)
	switch {
	case apierrors.IsNotFound(err):
		return ctrl.Result{}, nil
	case err != nil:
		return ctrl.Result{}, fmt.Errorf("looking for RoleBinding %s, which is not seen any more: %w", e.key, err)
	case live.UID != e.uid, e.is(p.r, live): // an informer may have been shown an old list
		return ctrl.Result{}, nil
	}
	left, err := p.r.end(ctx, live, e.owner)
	if err != nil {
		return ctrl.Result{}, err
	}
	log.FromContext(ctx).Info("access ended: somebody had taken the labels or annotations of Lapse off its RoleBinding, or changed them",
		"binding", e.key, "request", e.owner.Key.Name, "deadline", e.deadline, "gone", left == nil)
	return ctrl.Result{}, nil
}
