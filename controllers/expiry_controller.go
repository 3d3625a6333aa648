// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/grant"
	"github.com/lapse-dev/lapse/internal/metrics"
)

// standbyDelay is how long a replica that is not the leader leaves an expiry to
// the leader.
const standbyDelay = 2 * time.Second

// pinnedRetry is when a binding that something keeps is looked at again.
const pinnedRetry = 5 * time.Second

// liveTimeout bounds the second look at a request that the cache has lost.
const liveTimeout = 2 * time.Second

// expiryPriority is above all else, and above what start-up gives.
var expiryPriority = 100

// ExpiryReconciler removes managed RoleBindings at their deadline, and those whose
// request is gone. It needs the binding alone: no request, no policy, no leader.
type ExpiryReconciler struct {
	Options
	client.Client
	// Requests reads AccessRequests from a cache, without waiting; false while there
	// is none that has caught up.
	Requests func() (client.Reader, bool)
	// Leading says whether this replica is the leader.
	Leading func() bool
	// Ended is told of each end; nil is nobody.
	Ended func(time.Time)

	// made remembers the bindings that there were; nil is nobody.
	made *madeGrants
	// removed are the bindings that this replica deleted.
	removed recentUIDs
}

func (r *ExpiryReconciler) deadline(b client.Object) time.Time {
	return grant.Deadline(b, r.Limits.MaxDuration)
}

// Reconcile looks at one binding.
func (r *ExpiryReconciler) Reconcile(ctx context.Context, key ctrl.Request) (ctrl.Result, error) {
	return lane{ExpiryReconciler: r}.Reconcile(ctx, key)
}

// Reconcile looks at one binding.
func (l lane) Reconcile(ctx context.Context, key ctrl.Request) (ctrl.Result, error) {
	b := &rbacv1.RoleBinding{}
	if err := l.Get(ctx, key.NamespacedName, b); err != nil || !grant.Managed(b) {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	now, due := l.now(), l.deadline(b)
	if !l.Leading() {
		due = due.Add(standbyDelay)
	}
	if now.Before(due) && !l.orphaned(ctx, b) {
		return ctrl.Result{RequeueAfter: max(due.Sub(now), time.Millisecond), Priority: &expiryPriority}, nil
	}
	if to := l.elsewhere(b); to != nil {
		return handOver(to, b)
	}
	left, slow, err := l.attempt(ctx, b)
	switch {
	case slow:
		return handOver(l.slow, b)
	case err != nil:
		return ctrl.Result{Priority: &expiryPriority}, err
	}
	if len(b.Subjects) > 0 {
		l.announce(ctx, b, left == nil)
	}
	switch {
	case left == nil:
		return ctrl.Result{}, nil
	case l.rest != nil:
		return handOver(l.rest, b)
	default:
		return ctrl.Result{RequeueAfter: pinnedRetry, Priority: &expiryPriority}, nil
	}
}

func (r *ExpiryReconciler) announce(ctx context.Context, b *rbacv1.RoleBinding, gone bool) {
	if late := r.now().Sub(r.deadline(b)); late >= 0 {
		metrics.Lateness(late)
	}
	log.FromContext(ctx).Info("access ended", "binding", b.Name, "request", b.Annotations[v1alpha1.RequestAnnotation], "deadline", r.deadline(b), "gone", gone)
	if r.Ended != nil {
		r.Ended(r.Clock.Now())
	}
}

// end takes the access away that a request was given by a binding; left is what is
// still there of it, else nil. When it is not certain that the grant is recorded, the
// binding stays without subjects until it is: it is the only trace that the request
// was ever granted, but for what is in memory.
func (r *ExpiryReconciler) end(ctx context.Context, b *rbacv1.RoleBinding, by requestKey, patience time.Duration) (left *rbacv1.RoleBinding, err error) {
	binder := binder{Writer: r.Client, Live: r.Live, patience: patience}
	if !r.recorded(ctx, by) {
		err := binder.empty(ctx, b)
		if err == nil || !apierrors.IsForbidden(err) && r.made.of(by.uid) == nil {
			return b, err
		}
		// Without bind on the role, subjects cannot be taken off; and without it the
		// request cannot be granted again. Nor can what is remembered.
	}
	left, err = binder.end(ctx, b)
	if left == nil && err == nil {
		r.removed.add(b.UID)
	}
	return left, err
}

// recorded says whether the binding of a request may go: the request knows of the
// grant, or is gone for certain. What cannot be told is no.
func (r *ExpiryReconciler) recorded(ctx context.Context, by requestKey) bool {
	if requests, synced := r.Requests(); synced {
		req := &v1alpha1.AccessRequest{}
		if requests.Get(ctx, by.ObjectKey, req) == nil && req.UID == by.uid {
			return req.Status.Grant != nil || req.Status.State.Final()
		}
	}
	return r.requestGone(ctx, by) == nil
}

// orphaned says whether a binding is of no request: the one that it names is gone, or
// has another binding. What the cache has lost is looked up again; if that fails, the
// request counts as gone.
func (r *ExpiryReconciler) orphaned(ctx context.Context, b *rbacv1.RoleBinding) bool {
	if !r.lost(ctx, b) {
		return false
	}
	return grant.Misnamed(b) || !errors.Is(r.requestGone(ctx, requestOf(b)), errRequestExists)
}

// lost says whether the cache knows no request of which a binding could be.
func (r *ExpiryReconciler) lost(ctx context.Context, b *rbacv1.RoleBinding) bool {
	if grant.Misnamed(b) {
		return true
	}
	requests, synced := r.Requests()
	if !synced {
		return false
	}
	req, by := &v1alpha1.AccessRequest{}, requestOf(b)
	return requests.Get(ctx, by.ObjectKey, req) != nil || req.UID != by.uid
}

var errRequestExists = errors.New("the request exists")

// requestGone is nil if the API server says that a request is gone, errRequestExists if
// it is there, and another error if it could not be told.
func (r *ExpiryReconciler) requestGone(ctx context.Context, by requestKey) error {
	if by.Name == "" {
		return nil // the binding names none any more, and whoever saw to that could delete it
	}
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	req := &v1alpha1.AccessRequest{}
	switch err := r.Live.Get(ctx, by.ObjectKey, req); {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return err
	case req.UID != by.uid:
		return nil
	default:
		return errRequestExists
	}
}

// requestKey is one request, and not another one of its name.
type requestKey struct {
	client.ObjectKey
	uid types.UID
}

// requestOf is the request that a binding says that it belongs to.
func requestOf(b *rbacv1.RoleBinding) requestKey {
	return requestKey{
		ObjectKey: client.ObjectKey{Namespace: b.Namespace, Name: b.Annotations[v1alpha1.RequestAnnotation]},
		uid:       types.UID(b.Labels[v1alpha1.RequestUIDLabel]),
	}
}
