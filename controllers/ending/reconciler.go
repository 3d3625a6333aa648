// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package ending

import (
	"context"
	"errors"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/metrics"
	"github.com/lapse-dev/lapse/internal/servertime"
	"github.com/lapse-dev/lapse/internal/unbind"
)

// liveTimeout bounds the second look at a request that the cache has lost.
const liveTimeout = 2 * time.Second

const (
	// standbyDelay is how long a replica that is not the leader leaves an end to the leader.
	standbyDelay = 2 * time.Second
	// emptyTimeout bounds the emptying of a binding that may be deleted, too: what is left of an
	// attempt is as long as a write may take.
	emptyTimeout = 2 * time.Second
	// leftRetry is when an object that something keeps is looked at again, after access by
	// it ended.
	leftRetry = 5 * time.Second
)

// behindPriority is that of what waits where ends take long, see seats.Options.
const behindPriority = 75

// Priorities in the queue: access that has to end is before what is left of objects by
// which nobody holds a role any more.
var (
	endPriority  = 100
	leftPriority = 50
)

// Options are what ending needs from outside.
type Options struct {
	// Client reads RoleBindings from a cache, and writes.
	Client client.Client
	// Live reads past the cache.
	Live client.Reader
	// Clock shows the API server's time.
	Clock *servertime.Clock
	// MaxDuration is the longest grant there can be: a binding without a readable end goes
	// that long after its creation.
	MaxDuration time.Duration
	// RequestOf says what a cache knows of the request of a binding, without waiting.
	RequestOf func(context.Context, binding.Owner) binding.RequestIs
	// Leading says whether this replica is the leader.
	Leading func() bool
	// Memory of the grants that there were.
	Memory binding.Memory
}

// reconciler ends the access of managed RoleBindings at their deadline, and of those whose
// request is gone.
type reconciler struct {
	client    client.Client
	live      client.Reader
	clock     *servertime.Clock
	ceiling   time.Duration
	requestOf func(context.Context, binding.Owner) binding.RequestIs
	leading   func() bool
	memory    binding.Memory
	unbinder  unbind.Unbinder
	// removed are the bindings that this replica deleted.
	removed *binding.UIDs
}

// NewReconciler ends access by all bindings that the client reads.
func NewReconciler(o Options) reconcile.Reconciler { return newReconciler(o) }

func newReconciler(o Options) *reconciler {
	return &reconciler{
		client: o.Client, live: o.Live, clock: o.Clock, ceiling: o.MaxDuration, requestOf: o.RequestOf, leading: o.Leading, memory: o.Memory,
		unbinder: unbind.Unbinder{Writer: o.Client, Live: o.Live, Clock: o.Clock.Here},
		removed:  binding.NewUIDs(),
	}
}

// Reconcile looks at one binding, and ends access by it when that is due.
func (r *reconciler) Reconcile(ctx context.Context, key ctrl.Request) (ctrl.Result, error) {
	b := &rbacv1.RoleBinding{}
	if err := r.client.Get(ctx, key.NamespacedName, b); err != nil || !binding.Managed(b) {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	now, due := r.clock.Now(), r.deadline(b)
	if !r.leading() {
		due = due.Add(standbyDelay)
	}
	if now.Before(due) && !r.orphaned(ctx, b) {
		return ctrl.Result{RequeueAfter: max(due.Sub(now), time.Millisecond), Priority: &endPriority}, nil
	}
	left, err := r.end(ctx, b, binding.OwnerOf(b))
	if err != nil {
		return ctrl.Result{}, err
	}
	if len(b.Subjects) > 0 {
		r.announce(ctx, b, left == nil)
	}
	if left == nil {
		return ctrl.Result{}, nil
	}
	return ctrl.Result{RequeueAfter: leftRetry, Priority: &leftPriority}, nil
}

// urgent says whether access goes on by a binding.
func (r *reconciler) urgent(ctx context.Context, key ctrl.Request) bool {
	b := &rbacv1.RoleBinding{}
	return r.client.Get(ctx, key.NamespacedName, b, client.UnsafeDisableDeepCopy) == nil && len(b.Subjects) > 0
}

func (r *reconciler) deadline(b metav1.Object) time.Time { return binding.Deadline(b, r.ceiling) }

// end takes the access away that a request was given by a binding; left is what is
// still there of it, else nil. When it is not certain that the grant is recorded, the
// binding stays without subjects until it is: it is the only trace that the request
// was ever granted, but for what is in memory.
func (r *reconciler) end(ctx context.Context, b *rbacv1.RoleBinding, owner binding.Owner) (left *rbacv1.RoleBinding, err error) {
	if !r.mayGo(ctx, owner) {
		remembered := r.memory.Of(owner.UID) != nil
		err := r.empty(ctx, b, remembered)
		if err == nil || !unbind.MayNotBind(err) && !remembered {
			return b, err
		}
		// Without bind on the role, subjects cannot be taken off; and without it the
		// request cannot be granted again. Nor can what is remembered.
	}
	left, err = r.unbinder.Insist(ctx, b)
	if left == nil && err == nil {
		r.removed.Add(b.UID)
	}
	return left, err
}

// empty takes the subjects off a binding. If it may be deleted, too, that gets its turn: an answer
// may be kept back, and client-go waits within a call for as long as a 429 says.
func (r *reconciler) empty(ctx context.Context, b *rbacv1.RoleBinding, mayGo bool) error {
	if mayGo {
		brief, cancel := context.WithTimeout(ctx, emptyTimeout)
		defer cancel()
		ctx = brief
	}
	return r.unbinder.Empty(ctx, b)
}

// mayGo says whether the binding of a request may go: the request knows of the
// grant, or is gone for certain. If it cannot be told, the answer is no.
func (r *reconciler) mayGo(ctx context.Context, owner binding.Owner) bool {
	is := r.requestOf(ctx, owner)
	return is == binding.Aware || is != binding.Unaware && r.requestGone(ctx, owner) == nil
}

// orphaned says whether the request of a binding is gone, or has another binding. What the
// cache has lost is looked up again; if that fails, the request counts as gone.
func (r *reconciler) orphaned(ctx context.Context, b *rbacv1.RoleBinding) bool {
	return r.requestLost(ctx, b) && (binding.Misnamed(b) || !errors.Is(r.requestGone(ctx, binding.OwnerOf(b)), errRequestExists))
}

// requestLost says whether the cache knows no request of which a binding could be.
func (r *reconciler) requestLost(ctx context.Context, b *rbacv1.RoleBinding) bool {
	return binding.Misnamed(b) || r.requestOf(ctx, binding.OwnerOf(b)) == binding.Missing
}

var errRequestExists = errors.New("the request exists")

// requestGone is nil if the API server says that a request is gone, errRequestExists if
// it is there, and another error if it could not be told.
func (r *reconciler) requestGone(ctx context.Context, owner binding.Owner) error {
	if owner.Key.Name == "" {
		return nil // the binding names none any more, and whoever saw to that could delete it
	}
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	req := &metav1.PartialObjectMetadata{}
	req.SetGroupVersionKind(binding.RequestGVK)
	switch err := r.live.Get(ctx, owner.Key, req); {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return err
	case req.UID != owner.UID:
		return nil
	default:
		return errRequestExists
	}
}

func (r *reconciler) announce(ctx context.Context, b *rbacv1.RoleBinding, gone bool) {
	if late := r.clock.Now().Sub(r.deadline(b)); late >= 0 {
		metrics.Lateness(late)
	}
	log.FromContext(ctx).Info("access ended", "binding", b.Name, "request", binding.OwnerOf(b).Key.Name, "deadline", r.deadline(b), "gone", gone)
}
