// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/seats"
)

// Priorities in the queue of requests. What may have to end comes first, also at
// start-up, when the handlers of controller-runtime put all there is behind what is new.
var (
	endFirst = 10
	endLast  = 0
	// judgedAgain is for what waits and may be decided otherwise: whoever has had no answer
	// yet goes before, also at start-up.
	judgedAgain = handler.LowPriority - 10
)

// judgePace is from one request that is judged again to the next one.
const judgePace = 20 * time.Millisecond

// ahead queues the requests of an object that may end access before all others.
func ahead(requests handler.MapFunc) handler.EventHandler {
	return queued(requests, func(context.Context, client.Object) *int { return &endFirst })
}

// behind queues the requests of an object behind those that nobody has looked at yet, one
// after the other: many at once would keep the API server from answering those.
func behind(requests handler.MapFunc) handler.EventHandler {
	add := func(ctx context.Context, obj client.Object, q seats.Queue) {
		for i, key := range requests(ctx, obj) {
			seats.Enqueue(q, priorityqueue.AddOpts{After: time.Duration(i) * judgePace, Priority: &judgedAgain}, key)
		}
	}
	return handler.Funcs{
		CreateFunc:  func(ctx context.Context, e event.CreateEvent, q seats.Queue) { add(ctx, e.Object, q) },
		UpdateFunc:  func(ctx context.Context, e event.UpdateEvent, q seats.Queue) { add(ctx, e.ObjectNew, q) },
		DeleteFunc:  func(ctx context.Context, e event.DeleteEvent, q seats.Queue) { add(ctx, e.Object, q) },
		GenericFunc: func(ctx context.Context, e event.GenericEvent, q seats.Queue) { add(ctx, e.Object, q) },
	}
}

func queued(requests handler.MapFunc, priority func(context.Context, client.Object) *int) handler.EventHandler {
	add := func(ctx context.Context, obj client.Object, q seats.Queue) {
		p := priority(ctx, obj)
		for _, key := range requests(ctx, obj) {
			seats.Enqueue(q, priorityqueue.AddOpts{Priority: p}, key)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q seats.Queue) { add(ctx, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q seats.Queue) {
			add(ctx, e.ObjectOld, q)
			add(ctx, e.ObjectNew, q)
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q seats.Queue) { add(ctx, e.Object, q) },
	}
}

// byDecision queues the request of a decision. Only a no on what is held is ahead of all
// others; who decides on his own request gains no turn by it.
func (r *RequestReconciler) byDecision() handler.EventHandler {
	return queued(requestOfDecision, func(ctx context.Context, obj client.Object) *int {
		d, req := obj.(*v1alpha1.AccessDecision), &v1alpha1.AccessRequest{}
		key := client.ObjectKey{Namespace: d.Namespace, Name: d.Spec.RequestRef.Name}
		switch {
		case r.client.Get(ctx, key, req, client.UnsafeDisableDeepCopy) != nil:
			return nil // it is queued when it is seen
		case isNo(d) && (held(req) || bound(ctx, r.client, req)):
			return &endFirst
		case standingOf(req) == unanswered, policy.Involved(req, d.Spec.Reviewer):
			return r.turns.priority(req)
		default:
			return nil
		}
	})
}

func isNo(d *v1alpha1.AccessDecision) bool { return d.Spec.Verdict != v1alpha1.VerdictApprove }

// bound says whether a request has a binding, of which status may not know yet, or not any
// more.
func bound(ctx context.Context, cached client.Reader, req *v1alpha1.AccessRequest) bool {
	key := client.ObjectKey{Namespace: req.Namespace, Name: binding.Name(req)}
	return cached.Get(ctx, key, &rbacv1.RoleBinding{}, client.UnsafeDisableDeepCopy) == nil
}

// held says whether somebody has access by a request, as far as status knows.
func held(obj client.Object) bool {
	return obj.(*v1alpha1.AccessRequest).Status.State == v1alpha1.StateActive
}

// priorityOf a request that is looked at again. What failed is judged again behind who has had
// no answer yet.
func priorityOf(req *v1alpha1.AccessRequest) *int {
	switch {
	case held(req):
		return &endFirst
	case req.Status.State == v1alpha1.StateFailed:
		return &judgedAgain
	default:
		return &endLast
	}
}

// retries are further and further apart, but those of a request by which access may be
// held no more than an end may wait.
type retries struct {
	limiter workqueue.TypedRateLimiter[reconcile.Request]
	cached  client.Reader
}

// Forget begins anew.
func (r retries) Forget(key reconcile.Request) { r.limiter.Forget(key) }

// NumRequeues counts.
func (r retries) NumRequeues(key reconcile.Request) int { return r.limiter.NumRequeues(key) }

// When the next one is.
func (r retries) When(key reconcile.Request) time.Duration {
	after := r.limiter.When(key)
	if after <= endRetry {
		return after
	}
	ctx, req := context.Background(), &v1alpha1.AccessRequest{}
	known := r.cached.Get(ctx, key.NamespacedName, req, client.UnsafeDisableDeepCopy) == nil
	if known && (held(req) || bound(ctx, r.cached, req)) {
		return endRetry
	}
	return after
}

// requestsOfBinding finds the request by all that a binding says of it: part of it
// may have been tampered with.
func requestsOfBinding(_ context.Context, obj client.Object) []reconcile.Request {
	names := map[string]struct{}{}
	if name := obj.GetAnnotations()[v1alpha1.RequestAnnotation]; name != "" {
		names[name] = struct{}{}
	}
	for _, owner := range obj.GetOwnerReferences() {
		if owner.Kind == binding.RequestGVK.Kind {
			names[owner.Name] = struct{}{}
		}
	}
	out := make([]reconcile.Request, 0, len(names))
	for name := range names {
		out = append(out, reconcile.Request{NamespacedName: client.ObjectKey{Namespace: obj.GetNamespace(), Name: name}})
	}
	return out
}

// requestOfDecision is the request that a decision names.
func requestOfDecision(_ context.Context, obj client.Object) []reconcile.Request {
	ref := obj.(*v1alpha1.AccessDecision).Spec.RequestRef
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: obj.GetNamespace(), Name: ref.Name}}}
}

// waitingRequests may be decided by a policy that changed.
func (r *RequestReconciler) waitingRequests(ctx context.Context, _ client.Object) []reconcile.Request {
	return r.inState(ctx, nil, v1alpha1.StatePending, v1alpha1.StateScheduled, v1alpha1.StateFailed)
}

// grantedBy a policy are the requests by which access is held.
func (r *RequestReconciler) grantedBy(ctx context.Context, policy client.Object) []reconcile.Request {
	return r.inState(ctx, func(req *v1alpha1.AccessRequest) bool {
		return req.Status.Policy != nil && req.Status.Policy.Name == policy.GetName()
	}, v1alpha1.StateActive)
}

// undecidedRequests are those that may have waited for the admission policies.
func (r *RequestReconciler) undecidedRequests(ctx context.Context, _ client.Object) []reconcile.Request {
	return r.inState(ctx, nil, "", v1alpha1.StatePending, v1alpha1.StateScheduled, v1alpha1.StateFailed)
}

// authorizerLag is how far the API server's authorizer may be behind its own watch:
// what waits for a role is tried that long after the role changed.
const authorizerLag = 500 * time.Millisecond

// afterRoleChange queues what waits for a role, or for the right to bind it.
func (r *RequestReconciler) afterRoleChange() handler.EventHandler {
	add := func(ctx context.Context, q seats.Queue) {
		for _, key := range r.inState(ctx, nil, v1alpha1.StateFailed) {
			seats.Enqueue(q, priorityqueue.AddOpts{After: authorizerLag, Priority: &judgedAgain}, key)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, _ event.CreateEvent, q seats.Queue) { add(ctx, q) },
		UpdateFunc: func(ctx context.Context, _ event.UpdateEvent, q seats.Queue) { add(ctx, q) },
	}
}

func roleKey(kind, name string) string { return kind + "/" + name }

// holdersOf finds the requests by which a role of that kind is held.
func (r *RequestReconciler) holdersOf(kind string) handler.MapFunc {
	return func(ctx context.Context, role client.Object) []reconcile.Request {
		list := &v1alpha1.AccessRequestList{}
		if err := r.client.List(ctx, list, client.InNamespace(role.GetNamespace()), client.MatchingFields{heldRoleField: roleKey(kind, role.GetName())}, client.UnsafeDisableDeepCopy); err != nil {
			log.FromContext(ctx).Error(err, "listing requests; they are looked at again when they change", "role", role.GetName())
			return nil
		}
		out := make([]reconcile.Request, 0, len(list.Items))
		for i := range list.Items {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
		return out
	}
}

func (r *RequestReconciler) inState(ctx context.Context, which func(*v1alpha1.AccessRequest) bool, states ...v1alpha1.RequestState) []reconcile.Request {
	var out []reconcile.Request
	for _, state := range states {
		list := &v1alpha1.AccessRequestList{}
		if err := r.client.List(ctx, list, client.MatchingFields{stateField: string(state)}, client.UnsafeDisableDeepCopy); err != nil {
			log.FromContext(ctx).Error(err, "listing requests; they are looked at again when they change", "state", state)
			continue
		}
		for i := range list.Items {
			if which == nil || which(&list.Items[i]) {
				out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
			}
		}
	}
	return out
}

// policiesOfRole finds the policies that offer a ClusterRole.
func (r *PolicyReconciler) policiesOfRole(ctx context.Context, obj client.Object) []reconcile.Request {
	list := &v1alpha1.AccessPolicyList{}
	if err := r.client.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		log.FromContext(ctx).Error(err, "listing policies; they are looked at again when they change")
		return nil
	}
	var out []reconcile.Request
	for i := range list.Items {
		for _, ref := range list.Items[i].Spec.Roles {
			if ref.Kind == v1alpha1.ClusterRoleKind && ref.Name == obj.GetName() {
				out = append(out, reconcile.Request{NamespacedName: client.ObjectKey{Name: list.Items[i].Name}})
				break
			}
		}
	}
	return out
}
