// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"time"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
)

const (
	// rivalsAfter is how long after a policy changed it is looked who gets past others by it.
	// Edits in between cost nothing more.
	rivalsAfter = 10 * time.Second
	// rivalsPace is from one such policy to the next one: each look lists all policies, and
	// whoever edits one of many must not keep a processor busy.
	rivalsPace = time.Second
)

// rivalsLater queues the policies past which, or by which, somebody may get because of one
// that changed. When the operator starts, each policy is looked at anyway.
func (r *PolicyReconciler) rivalsLater() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q policyQueue) {
			if !e.IsInInitialList {
				r.queueRivals(ctx, q, e.Object)
			}
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q policyQueue) {
			r.queueRivals(ctx, q, e.ObjectOld, e.ObjectNew)
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q policyQueue) { r.queueRivals(ctx, q, e.Object) },
	}
}

type policyQueue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// queueRivals queues those of each version of one policy, one after the other. What is queued
// already comes no later, nor twice.
func (r *PolicyReconciler) queueRivals(ctx context.Context, q policyQueue, versions ...client.Object) {
	list := &v1alpha1.AccessPolicyList{}
	if err := r.client.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		log.FromContext(ctx).Error(err, "listing policies; they are looked at again when they change")
		return
	}
	queued := map[string]bool{}
	for _, version := range versions {
		for _, rival := range policy.Rivals(version.(*v1alpha1.AccessPolicy), list.Items) {
			if !queued[rival.Name] {
				q.AddAfter(reconcile.Request{NamespacedName: client.ObjectKey{Name: rival.Name}}, rivalsAfter+time.Duration(len(queued))*rivalsPace)
				queued[rival.Name] = true
			}
		}
	}
}
