// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"errors"
	"fmt"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/grant"
)

// decide says what comes next: by a view of the cache and, unless that ends access or
// changes nothing, by a view of the API server.
func (r *RequestReconciler) decide(ctx context.Context, now time.Time, req *v1alpha1.AccessRequest) (grant.Step, grant.Observed, error) {
	seen, err := r.observe(ctx, r.client, req)
	if err != nil {
		return grant.Step{}, seen, err
	}
	step, err := grant.Next(now, req, r.judges.of(ctx, r.client, r.client, now, req), seen, r.settings)
	if err == nil && step.Withdraws() {
		step = r.confirmWithdrawal(ctx, now, req, seen, step)
	}
	if err != nil || step.Ends() || settled(now, req, step) {
		return step, seen, err
	}
	return r.decideByServer(ctx, req)
}

// confirmWithdrawal judges a grant again that its policy is said to allow no more: the
// cache may not have seen that policy yet, by which the grant was made. If the API server
// does not answer, access ends.
func (r *RequestReconciler) confirmWithdrawal(ctx context.Context, now time.Time, req *v1alpha1.AccessRequest, seen grant.Observed, step grant.Step) grant.Step {
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	if again, err := grant.Next(now, req, r.judges.of(ctx, r.live, r.live, now, req), seen, r.settings); err == nil {
		return again
	}
	return step
}

// decideByServer reads everything from the API server, the request into req. Policies are
// many, and those of the cache do to allow something: that is allowed by one policy, which
// is confirmed before access is given. What is for good is decided by all policies as they
// are now.
func (r *RequestReconciler) decideByServer(ctx context.Context, req *v1alpha1.AccessRequest) (grant.Step, grant.Observed, error) {
	seen, gone, err := r.observeServer(ctx, req)
	if err != nil || gone {
		return grant.Step{}, seen, err
	}
	now := r.clock.Now() // by the clock that those answers showed
	step, err := grant.Next(now, req, r.judges.of(ctx, r.client, r.live, now, req), seen, r.settings)
	if err == nil && step.Rejects() {
		step, err = grant.Next(now, req, r.judges.of(ctx, r.live, r.live, now, req), seen, r.settings)
	}
	return step, seen, err
}

// observeServer reads the binding first, in the opposite order to what is written: status
// knows of a grant before its binding goes, so that if there is no binding, status that is
// read after it knows of every grant that there was.
func (r *RequestReconciler) observeServer(ctx context.Context, req *v1alpha1.AccessRequest) (seen grant.Observed, gone bool, err error) {
	if seen, err = r.observe(ctx, r.live, req); err != nil {
		return seen, false, err
	}
	live := &v1alpha1.AccessRequest{}
	err = r.live.Get(ctx, client.ObjectKeyFromObject(req), live)
	if err != nil || live.UID != req.UID {
		// Another one of that name is looked at when the cache has it.
		return seen, true, client.IgnoreNotFound(err)
	}
	*req = *live
	if seen.Binding == nil && req.Status.State == v1alpha1.StateActive {
		seen, err = r.observe(ctx, r.live, req) // it may have been granted in between
	}
	seen.Skew = r.clock.Ahead()
	return seen, false, err
}

// settled says whether a step neither does nor says anything new.
func settled(now time.Time, req *v1alpha1.AccessRequest, step grant.Step) bool {
	if step.Action != grant.Nothing {
		return false
	}
	after := req.DeepCopy()
	setStatus(now, after, step.Outcome)
	setRoleChanged(now, after, step.Role)
	return equality.Semantic.DeepEqual(req.Status, after.Status)
}

// errMadeMeanwhile says that a binding was seen while it was looked for, and was not found:
// it may be there, or be gone again.
var errMadeMeanwhile = errors.New("the RoleBinding was made while it was looked for; it is looked for again")

// observe looks at what there is. That a binding is missing is believed only of
// the API server: the cache may not have seen it yet, or may not see it any more
// because somebody took its labels off.
func (r *RequestReconciler) observe(ctx context.Context, reader client.Reader, req *v1alpha1.AccessRequest) (grant.Observed, error) {
	seen := grant.Observed{Skew: r.clock.Ahead(), Admission: r.admission()}
	lost := r.memory.Of(req.UID) // before the binding is looked for, which may be made meanwhile
	b := &rbacv1.RoleBinding{}
	key := client.ObjectKey{Namespace: req.Namespace, Name: binding.Name(req)}
	err := reader.Get(ctx, key, b)
	if apierrors.IsNotFound(err) && req.Status.State == v1alpha1.StateActive {
		err = r.live.Get(ctx, key, b)
	}
	switch {
	case err == nil:
		seen.Binding = b
	case !apierrors.IsNotFound(err):
		return seen, fmt.Errorf("reading RoleBinding %s: %w", key, err)
	case lost == nil && r.memory.Of(req.UID) != nil:
		return seen, errMadeMeanwhile
	default:
		seen.Lost = lost
	}
	switch {
	case req.Status.State == "":
		seen.Waiting = r.turns.of(req, waiting)
	case req.Status.State.Final() && !grant.NeverHeld(req):
		return seen, nil
	}
	seen.Decisions, err = decisionsOn(ctx, reader, req)
	return seen, err
}

func decisionsOn(ctx context.Context, reader client.Reader, req *v1alpha1.AccessRequest, opts ...client.ListOption) ([]v1alpha1.AccessDecision, error) {
	list := &v1alpha1.AccessDecisionList{}
	opts = append(opts, client.InNamespace(req.Namespace), client.MatchingFields{requestUIDField: string(req.UID)})
	if err := reader.List(ctx, list, opts...); err != nil {
		return nil, fmt.Errorf("listing decisions: %w", err)
	}
	return list.Items, nil
}
