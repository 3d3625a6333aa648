// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
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
	// RequestsSynced says, without waiting, whether Get knows of AccessRequests.
	RequestsSynced func() bool
	// Leading says whether this replica is the leader.
	Leading func() bool
}

// Reconcile looks at one binding.
func (r *ExpiryReconciler) Reconcile(ctx context.Context, key ctrl.Request) (ctrl.Result, error) {
	b := &rbacv1.RoleBinding{}
	if err := r.Get(ctx, key.NamespacedName, b); err != nil || !grant.Managed(b) {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	now, deadline := r.Clock.Now(), grant.Deadline(b, r.Limits.MaxDuration)
	if !r.Leading() {
		deadline = deadline.Add(standbyDelay)
	}
	if now.Before(deadline) && !r.orphaned(ctx, b) {
		return ctrl.Result{RequeueAfter: max(deadline.Sub(now), time.Millisecond), Priority: &expiryPriority}, nil
	}
	gone, err := r.end(ctx, b)
	if err != nil {
		return ctrl.Result{Priority: &expiryPriority}, err
	}
	if !now.Before(deadline) {
		metrics.Lateness(r.Clock.Now().Sub(grant.Deadline(b, r.Limits.MaxDuration)))
	}
	log.FromContext(ctx).Info("access ended", "binding", b.Name, "request", b.Annotations[v1alpha1.RequestAnnotation], "deadline", deadline, "gone", gone)
	if !gone {
		return ctrl.Result{RequeueAfter: pinnedRetry, Priority: &expiryPriority}, nil
	}
	return ctrl.Result{}, nil
}

// end takes the access away. When status does not know of the grant yet, the
// binding stays without subjects until it does: it is the only trace that the
// request was ever granted.
func (r *ExpiryReconciler) end(ctx context.Context, b *rbacv1.RoleBinding) (gone bool, err error) {
	binder := binder{Writer: r.Client, Live: r.Live}
	if r.recorded(ctx, b) {
		return binder.remove(ctx, b)
	}
	return false, binder.empty(ctx, b)
}

// recorded says whether the binding may go: its request knows of the grant, or is
// gone. It waits for nothing.
func (r *ExpiryReconciler) recorded(ctx context.Context, b *rbacv1.RoleBinding) bool {
	if !r.RequestsSynced() {
		return false
	}
	req := &v1alpha1.AccessRequest{}
	err := r.Get(ctx, requestOf(b), req)
	switch {
	case apierrors.IsNotFound(err):
		return true
	case err != nil:
		return false
	}
	return req.UID != uidOf(b) || req.Status.Grant != nil || req.Status.State.Final()
}

// orphaned says whether the request of a binding is gone. What the cache has lost
// is looked up again; if that fails, the request counts as gone.
func (r *ExpiryReconciler) orphaned(ctx context.Context, b *rbacv1.RoleBinding) bool {
	if !r.RequestsSynced() || requestExists(ctx, r.Client, b) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	return !requestExists(ctx, r.Live, b)
}

func requestExists(ctx context.Context, reader client.Reader, b *rbacv1.RoleBinding) bool {
	req := &v1alpha1.AccessRequest{}
	return reader.Get(ctx, requestOf(b), req) == nil && req.UID == uidOf(b)
}

func requestOf(b *rbacv1.RoleBinding) client.ObjectKey {
	return client.ObjectKey{Namespace: b.Namespace, Name: b.Annotations[v1alpha1.RequestAnnotation]}
}

func uidOf(b *rbacv1.RoleBinding) types.UID { return types.UID(b.Labels[v1alpha1.RequestUIDLabel]) }
