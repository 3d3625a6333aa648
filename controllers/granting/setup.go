// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"
	"weak"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/admission"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/metrics"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/seats"
	"github.com/lapse-dev/lapse/internal/servertime"
)

const (
	// quick and slow are the seats of attempts at requests, see internal/seats.
	quick = 8
	slow  = 16
	// slowAfter is how long an attempt at a request takes that goes on on a slow seat: a
	// second look and a deletion fit into it.
	slowAfter = liveTimeout + time.Second
	// lookTimeout bounds an attempt at a request: the API server gives a write 34 s, with all
	// webhooks, and status is written after that.
	lookTimeout = 36*time.Second + recordTimeout
	// recordTimeout bounds the writing of status, which nobody's access waits for: a webhook
	// has 10 s by default.
	recordTimeout = 12 * time.Second
	// endRetry is the longest pause between attempts at a request by which access is held.
	endRetry = 5 * time.Second
	// stateField is the selectable field of AccessRequest, indexed in the cache too.
	stateField = "status.state"
	// requestUIDField is the same of AccessDecision.
	requestUIDField = "spec.requestRef.uid"
	// heldRoleField, of AccessRequest, is in the cache alone: kind and name of the role
	// that is held, empty while none is.
	heldRoleField = "heldRole"
)

// Options are what granting needs from outside.
type Options struct {
	// Client reads from a cache, and writes.
	Client client.Client
	// Live reads past the cache.
	Live client.Reader
	// AtOnce does what has no order, and returns what the first of it says once all is done. By
	// default each of the others has a goroutine; who checks all orders has them one by one.
	AtOnce func(first func() error, others ...func()) error
	// Clock shows the API server's time.
	Clock *servertime.Clock
	// Recorder of Events.
	Recorder events.EventRecorder
	// Admission is what is known of the admission policies.
	Admission func() admission.State
	// Busy says whether many grants are ending at the moment, and recording gives way.
	Busy func() bool
	// Memory of the grants that there were.
	Memory binding.Memory
	// Limits over every policy.
	Limits policy.Limits
	// Retention of requests that are over; zero keeps them.
	Retention time.Duration
	// Metadata of others that each binding gets.
	Metadata binding.Metadata
	// Redact leaves out of the log what people wrote.
	Redact bool
}

// CacheOptions keep what nobody reads out of a cache.
func CacheOptions() cache.Options {
	return cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&v1alpha1.AccessRequest{}: {Transform: sharing()},
			// Whoever may decide may make many of them.
			&v1alpha1.AccessDecision{}: {Transform: withoutMetadata},
			// Every namespace has some. Only that they change is watched: metadata.
			&rbacv1.Role{}: {Transform: withoutMetadata},
		},
	}
}

// sharing has the requests in a cache share what many of them say alike, and a large part of
// each: who asked, and what the role was. It changes no value.
func sharing() toolscache.TransformFunc {
	var (
		people shared[v1alpha1.Identity]
		roles  shared[v1alpha1.GrantedRole]
	)
	return func(obj any) (any, error) {
		req, ok := obj.(*v1alpha1.AccessRequest)
		if !ok {
			return obj, nil
		}
		req.SetManagedFields(nil)
		if by := req.Spec.Requester; by != nil {
			req.Spec.Requester = people.instead(by.Username+by.UID, by)
		}
		if g := req.Status.Grant; g != nil && g.Role != nil {
			g.Role = roles.instead(g.Role.Digest+string(g.Role.UID), g.Role)
		}
		return req, nil
	}
}

// shared are values by their names, each for as long as anybody has it.
type shared[T any] struct {
	mu    sync.Mutex
	known map[string]weak.Pointer[T]
	// full is how many may be known until those are dropped that nobody has any more.
	full int
}

// instead of a value is the one that is known by a name, if it is equal.
func (s *shared[T]) instead(name string, of *T) *T {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.known[name].Value(); known != nil && reflect.DeepEqual(known, of) {
		return known
	}
	if len(s.known) >= s.full {
		left := map[string]weak.Pointer[T]{}
		for name, known := range s.known {
			if known.Value() != nil {
				left[name] = known
			}
		}
		s.known, s.full = left, 2*len(left)+100
	}
	s.known[name] = weak.Make(of)
	return of
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

// Setup adds to the manager all that grants. inForce has an event when the admission
// policies are in force again.
func Setup(mgr ctrl.Manager, o Options, inForce <-chan event.GenericEvent) error {
	o.Client = newOwnWrites(o.Client)
	return errors.Join(
		index(mgr),
		setupRequests(mgr, NewRequestReconciler(o), inForce),
		setupPolicies(mgr, NewPolicyReconciler(o)),
	)
}

// index makes the cache answer what the API server answers by selectable fields.
func index(mgr ctrl.Manager) error {
	for _, i := range []struct {
		obj   client.Object
		field string
		value func(client.Object) []string
	}{
		{&v1alpha1.AccessRequest{}, stateField, func(obj client.Object) []string {
			return []string{string(obj.(*v1alpha1.AccessRequest).Status.State)}
		}},
		{&v1alpha1.AccessRequest{}, heldRoleField, func(obj client.Object) []string {
			if req := obj.(*v1alpha1.AccessRequest); held(req) {
				return []string{roleKey(req.Spec.RoleRef.Kind, req.Spec.RoleRef.Name)}
			}
			return nil
		}},
		{&v1alpha1.AccessDecision{}, requestUIDField, func(obj client.Object) []string {
			return []string{string(obj.(*v1alpha1.AccessDecision).Spec.RequestRef.UID)}
		}},
	} {
		if err := mgr.GetFieldIndexer().IndexField(context.Background(), i.obj, i.field, i.value); err != nil {
			return fmt.Errorf("indexing %s: %w", i.field, err)
		}
	}
	return nil
}

func setupRequests(mgr ctrl.Manager, r *RequestReconciler, inForce <-chan event.GenericEvent) error {
	seated := seats.New(r, seats.Options{Clock: clock.RealClock{}, Quick: quick, Slow: slow, Rest: slow - slow/4, SlowAfter: slowAfter, Urgent: r.urgent})
	changed := builder.WithPredicates(predicate.GenerationChangedPredicate{})
	return ctrl.NewControllerManagedBy(mgr).Named("accessrequest").
		Watches(&v1alpha1.AccessRequest{}, r.turns.handler()).
		Watches(&rbacv1.RoleBinding{}, ahead(requestsOfBinding)).
		Watches(&v1alpha1.AccessDecision{}, r.byDecision()).
		Watches(&v1alpha1.AccessPolicy{}, ahead(r.grantedBy), changed).
		Watches(&v1alpha1.AccessPolicy{}, behind(r.waitingRequests), changed).
		Watches(&rbacv1.ClusterRole{}, ahead(r.holdersOf(v1alpha1.ClusterRoleKind))).
		Watches(&rbacv1.ClusterRole{}, r.afterRoleChange()).
		Watches(&rbacv1.Role{}, ahead(r.holdersOf(v1alpha1.RoleKind)), builder.OnlyMetadata).
		WatchesRawSource(source.Channel(inForce, behind(r.undecidedRequests))).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: seated.Workers(), ReconciliationTimeout: lookTimeout, NewQueue: seated.NewQueue,
			RateLimiter: retries{workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](5*time.Millisecond, 30*time.Second), r.client},
		}).
		Complete(seated)
}

func setupPolicies(mgr ctrl.Manager, r *PolicyReconciler) error {
	err := metrics.PoliciesNotReady(func() float64 {
		select {
		case <-mgr.Elected():
			return r.notReady()
		default: // who does not lead has no policies in its cache, and a scrape is no reason to
			return 0
		}
	})
	if err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).Named("accesspolicy").
		For(&v1alpha1.AccessPolicy{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.AccessPolicy{}, r.rivalsLater(), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&rbacv1.ClusterRole{}, handler.EnqueueRequestsFromMapFunc(r.policiesOfRole)).
		Complete(r)
}
