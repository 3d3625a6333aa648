// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/admission"
	"github.com/lapse-dev/lapse/internal/policy"
)

const (
	// workers of each controller: writes wait for the API server, not for us.
	workers = 16
	// requestTimeout bounds one look at a request.
	requestTimeout = slowTimeout + recordTimeout
	// recordTimeout bounds what of it writes status, which nobody's access waits for: a
	// webhook has 10 s by default.
	recordTimeout = 12 * time.Second
	// stateField is the selectable field of AccessRequest, indexed in the cache too.
	stateField = "status.state"
	// requestUIDField is the same of AccessDecision.
	requestUIDField = "spec.requestRef.uid"
	// heldRoleField, of AccessRequest, is in the cache alone: kind and name of the role
	// that is held, empty while none is.
	heldRoleField = "heldRole"
)

// Options are what the controllers share.
type Options struct {
	// Clock is the only one there is.
	Clock clock.WithTicker
	// Live reads past the cache.
	Live client.Reader
	// Recorder of Events.
	Recorder events.EventRecorder
	// Skew is how far Clock is ahead of the API server's.
	Skew func() time.Duration
	// Namespace is the operator's own.
	Namespace string
	// Admission is what is known of the admission policies.
	Admission func() admission.State
	// Limits over every policy.
	Limits policy.Limits
	// Retention of requests that are over; zero keeps them.
	Retention time.Duration
}

// now is the API server's time: what it stamps and what it is asked to end go by its
// clock.
func (o Options) now() time.Time { return o.Clock.Now().Add(-o.Skew()) }

// CacheOptions keep foreign RoleBindings and what nobody reads out of a cache.
func CacheOptions() cache.Options {
	return cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&rbacv1.RoleBinding{}: {Label: managedSelector()},
			// Whoever may decide may make many of them.
			&v1alpha1.AccessDecision{}: {Transform: withoutMetadata},
			// Every namespace has some. Only that they change is watched: metadata.
			&rbacv1.Role{}: {Transform: withoutMetadata},
		},
	}
}

// managedSelector selects managed RoleBindings: admission lets nobody else use the label
// of a request's UID, so that nobody fills the operator's memory with others.
func managedSelector() labels.Selector {
	selector := labels.SelectorFromSet(labels.Set{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy})
	ofRequest, err := labels.NewRequirement(v1alpha1.RequestUIDLabel, selection.Exists, nil)
	if err != nil {
		panic(err) // the label is a constant
	}
	return selector.Add(*ofRequest)
}

// withoutMetadata drops what is read of no decision and no Role.
func withoutMetadata(obj any) (any, error) {
	if o, ok := obj.(metav1.Object); ok {
		o.SetLabels(nil)
		o.SetAnnotations(nil)
		o.SetManagedFields(nil)
		o.SetFinalizers(nil)
		o.SetOwnerReferences(nil)
	}
	return obj, nil
}

// Setup adds to the manager all that grants. What ends access is told of the leader
// and of requests.
func Setup(mgr ctrl.Manager, o Options, expiry *Expiry, guard *Guard) error {
	o.Admission = guard.Admission
	if err := errors.Join(index(mgr), guard.watch(mgr)); err != nil {
		return err
	}
	requests := NewRequestReconciler(mgr.GetClient(), o)
	requests.Ending = func() bool { return expiry.burst.on(o.Clock.Now()) }
	requests.patience, requests.made = patience, expiry.made
	if err := setupRequests(mgr, requests, guard); err != nil {
		return err
	}
	if err := setupPolicies(mgr, NewPolicyReconciler(mgr.GetClient(), o)); err != nil {
		return err
	}
	return expiry.follow(mgr)
}

// index makes the cache answer what the API server answers by selectable fields.
func index(mgr ctrl.Manager) error {
	for _, i := range []struct {
		obj   client.Object
		field string
		value func(client.Object) string
	}{
		{&v1alpha1.AccessRequest{}, stateField, func(obj client.Object) string {
			return string(obj.(*v1alpha1.AccessRequest).Status.State)
		}},
		{&v1alpha1.AccessRequest{}, heldRoleField, func(obj client.Object) string {
			if req := obj.(*v1alpha1.AccessRequest); req.Status.State == v1alpha1.StateActive {
				return roleKey(req.Spec.RoleRef.Kind, req.Spec.RoleRef.Name)
			}
			return ""
		}},
		{&v1alpha1.AccessDecision{}, requestUIDField, func(obj client.Object) string {
			return string(obj.(*v1alpha1.AccessDecision).Spec.RequestRef.UID)
		}},
	} {
		if err := mgr.GetFieldIndexer().IndexField(context.Background(), i.obj, i.field, func(obj client.Object) []string { return []string{i.value(obj)} }); err != nil {
			return fmt.Errorf("indexing %s: %w", i.field, err)
		}
	}
	return nil
}

func setupRequests(mgr ctrl.Manager, r *RequestReconciler, guard *Guard) error {
	changed := builder.WithPredicates(predicate.GenerationChangedPredicate{})
	return ctrl.NewControllerManagedBy(mgr).Named("accessrequest").
		Watches(&v1alpha1.AccessRequest{}, ahead(ifHeld, itself)).
		Watches(&rbacv1.RoleBinding{}, ahead(unlessMade, requestsOfBinding)).
		Watches(&v1alpha1.AccessDecision{}, ahead(ifNo, requestOfDecision)).
		Watches(&v1alpha1.AccessPolicy{}, ahead(always, r.grantedBy), changed).
		Watches(&v1alpha1.AccessPolicy{}, handler.EnqueueRequestsFromMapFunc(r.waitingRequests), changed).
		Watches(&rbacv1.ClusterRole{}, ahead(always, r.holdersOf(v1alpha1.ClusterRoleKind))).
		Watches(&rbacv1.ClusterRole{}, r.afterRoleChange()).
		Watches(&rbacv1.Role{}, ahead(always, r.holdersOf(v1alpha1.RoleKind)), builder.OnlyMetadata).
		WatchesRawSource(source.Channel(guard.waiting, handler.EnqueueRequestsFromMapFunc(r.undecidedRequests))).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: workers, ReconciliationTimeout: requestTimeout,
			RateLimiter: retries{workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](5*time.Millisecond, 30*time.Second), r.Client},
		}).
		Complete(newFair(r, r.Clock, newSlowIn(r.Clock), workers, r.urgent))
}

func setupPolicies(mgr ctrl.Manager, r *PolicyReconciler) error {
	return ctrl.NewControllerManagedBy(mgr).Named("accesspolicy").
		For(&v1alpha1.AccessPolicy{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&rbacv1.ClusterRole{}, handler.EnqueueRequestsFromMapFunc(r.policiesOfRole)).
		Complete(r)
}

// Ready says whether the informers know what there is, so that nothing is missed.
func Ready(mgr ctrl.Manager) healthz.Checker {
	return func(req *http.Request) error {
		ctx, cancel := context.WithTimeout(req.Context(), time.Second)
		defer cancel()
		if !mgr.GetCache().WaitForCacheSync(ctx) {
			return errors.New("the informers have not caught up with the API server yet")
		}
		return nil
	}
}
