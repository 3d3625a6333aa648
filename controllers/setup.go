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
	"k8s.io/apimachinery/pkg/labels"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/grant"
	"github.com/lapse-dev/lapse/internal/metrics"
	"github.com/lapse-dev/lapse/internal/policy"
)

const (
	// workers of each controller: writes wait for the API server, not for us.
	workers = 16
	// stateField is the selectable field of AccessRequest, indexed in the cache too.
	stateField = "status.state"
	// requestUIDField is the same of AccessDecision.
	requestUIDField = "spec.requestRef.uid"
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
	// Limits over every policy.
	Limits policy.Limits
	// Retention of requests that are over; zero keeps them.
	Retention time.Duration
}

// CacheOptions keep foreign RoleBindings and what nobody reads out of the cache.
func CacheOptions() cache.Options {
	return cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&rbacv1.RoleBinding{}: {Label: labels.SelectorFromSet(labels.Set{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy})},
		},
	}
}

// Setup adds the controllers to the manager.
func Setup(mgr ctrl.Manager, o Options) error {
	if err := index(mgr); err != nil {
		return err
	}
	if err := setupExpiry(mgr, o); err != nil {
		return err
	}
	if err := setupRequests(mgr, NewRequestReconciler(mgr.GetClient(), o)); err != nil {
		return err
	}
	return setupPolicies(mgr, NewPolicyReconciler(mgr.GetClient(), o))
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

// setupExpiry waits for RoleBindings alone. The informer of AccessRequests is only
// listened to: were its kind missing or unreadable, access would still end.
func setupExpiry(mgr ctrl.Manager, o Options) error {
	requests, err := mgr.GetCache().GetInformer(context.Background(), &v1alpha1.AccessRequest{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watching AccessRequests: %w", err)
	}
	r := &ExpiryReconciler{Options: o, Client: mgr.GetClient(), RequestsSynced: requests.HasSynced, Leading: leading(mgr)}
	due := make(chan event.GenericEvent, 1024)
	if _, err := requests.AddEventHandler(toolscache.ResourceEventHandlerFuncs{DeleteFunc: func(obj any) {
		if gone, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
			obj = gone.Obj
		}
		if req, ok := obj.(*v1alpha1.AccessRequest); ok {
			b := &rbacv1.RoleBinding{}
			b.Namespace, b.Name = req.Namespace, grant.BindingName(req)
			due <- event.GenericEvent{Object: b}
		}
	}}); err != nil {
		return fmt.Errorf("watching AccessRequests: %w", err)
	}
	if err := mgr.Add(sweeper{ExpiryReconciler: r, due: due}); err != nil {
		return err
	}
	if err := metrics.Gauges(r.count(anyBinding), r.count(r.overdue), o.Skew); err != nil {
		return err
	}
	everyReplica := false
	return ctrl.NewControllerManagedBy(mgr).Named("expiry").
		WatchesRawSource(source.Kind(mgr.GetCache(), client.Object(&rbacv1.RoleBinding{}), r.atDeadline())).
		WatchesRawSource(source.Channel(due, &handler.EnqueueRequestForObject{})).
		WithOptions(controller.Options{
			NeedLeaderElection: &everyReplica, MaxConcurrentReconciles: workers,
			RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](50*time.Millisecond, 5*time.Second),
		}).
		Complete(r)
}

func setupRequests(mgr ctrl.Manager, r *RequestReconciler) error {
	return ctrl.NewControllerManagedBy(mgr).Named("accessrequest").
		For(&v1alpha1.AccessRequest{}).
		Watches(&rbacv1.RoleBinding{}, handler.EnqueueRequestsFromMapFunc(requestsOfBinding)).
		Watches(&v1alpha1.AccessDecision{}, handler.EnqueueRequestsFromMapFunc(requestOfDecision)).
		Watches(&v1alpha1.AccessPolicy{}, handler.EnqueueRequestsFromMapFunc(r.requestsOfPolicy), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&rbacv1.ClusterRole{}, r.afterRoleChange()).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: workers,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](50*time.Millisecond, 30*time.Second),
		}).
		Complete(r)
}

func setupPolicies(mgr ctrl.Manager, r *PolicyReconciler) error {
	return ctrl.NewControllerManagedBy(mgr).Named("accesspolicy").
		For(&v1alpha1.AccessPolicy{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&rbacv1.ClusterRole{}, handler.EnqueueRequestsFromMapFunc(r.policiesOfRole)).
		Complete(r)
}

// leading says whether the manager was elected; it never stops leading alive.
func leading(mgr ctrl.Manager) func() bool {
	return func() bool {
		select {
		case <-mgr.Elected():
			return true
		default:
			return false
		}
	}
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
