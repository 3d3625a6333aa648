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
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/grant"
)

// decide says what comes next: by a view of the cache and, unless that ends access or
// changes nothing, by a view of the API server. See ADR 13 for what is read there before
// access is given.
func (r *RequestReconciler) decide(ctx context.Context, now time.Time, req *v1alpha1.AccessRequest) (grant.Step, grant.Observed, error) {
	seen, err := r.observe(ctx, r.client, r.client, req)
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
	if givesUnasked(req, step) {
		lookups := r.lookupsFor(ctx, req, step.Outcome.Policy.Name)
		if step, seen, err = r.decideByServer(ctx, req, r.client, lookups); err != nil || givesUnasked(req, step) {
			return step, seen, err
		}
	}
	return r.decideByServer(ctx, req, r.live, nil)
}

// givesUnasked says whether a step gives access that nobody had to approve, at once. Of what
// waited before, somebody may have said no under the policy that it waited for.
func givesUnasked(req *v1alpha1.AccessRequest, step grant.Step) bool {
	return step.Action == grant.Create && len(step.Outcome.Approvals) == 0 && req.Status.State == ""
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

// decideByServer reads decisions by the given reader, all else from the API server, and the
// request into req. Policies are many, and those of the cache do to allow something:
// that is allowed by one policy, which is confirmed before access is given. What is for good
// is decided by all policies as they are now.
//
// The lookups are read beside binding and request, which alone have an order. They are for what
// nobody has seen yet: an end waits for none of them, and what was granted, or waited, is judged by
// what is read after it.
func (r *RequestReconciler) decideByServer(ctx context.Context, req *v1alpha1.AccessRequest, decisions client.Reader, lookups []*lookup) (grant.Step, grant.Observed, error) {
	var (
		seen grant.Observed
		gone bool
	)
	live := lookedUp{r.live, lookups}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	err := r.atOnce(func() (err error) {
		seen, gone, err = r.observeServer(ctx, req, decisions)
		if err != nil || gone || seen.Binding != nil || seen.Lost != nil || req.Status.State != "" {
			live.lookups = nil
			stop()
		}
		return err
	}, live.reads(reading)...)
	if err != nil || gone {
		return grant.Step{}, seen, err
	}
	now := r.clock.Now() // by the clock that those answers showed
	step, err := grant.Next(now, req, r.judges.reading(live).of(ctx, r.client, live, now, req), seen, r.settings)
	if err == nil && step.Rejects() {
		step, err = grant.Next(now, req, r.judges.of(ctx, r.live, r.live, now, req), seen, r.settings)
	}
	if err == nil && step.Action == grant.Create {
		err = r.judges.reading(live).confirm(ctx, step.Outcome.Policy)
	}
	return step, seen, err
}

// observeServer reads the binding first, in the opposite order to what is written: status
// knows of a grant before its binding goes, so that if there is no binding, status that is
// read after it knows of every grant that there was.
func (r *RequestReconciler) observeServer(ctx context.Context, req *v1alpha1.AccessRequest, decisions client.Reader) (seen grant.Observed, gone bool, err error) {
	if seen, err = r.observe(ctx, r.live, decisions, req); err != nil {
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
		seen, err = r.observe(ctx, r.live, decisions, req) // it may have been granted in between
	}
	seen.Skew = r.clock.Ahead()
	return seen, false, err
}

// silent says whether a step does nothing, and says nothing of which status could say something
// else. Most looks find that: access goes on, or is over. So nothing is compared, which took
// most of such a look.
func silent(req *v1alpha1.AccessRequest, step grant.Step) bool {
	if step.Action != grant.Nothing || step.Outcome != nil {
		return false
	}
	asGranted := step.Role != nil && step.Role.Reason == ""
	return step.Role == nil || asGranted && meta.FindStatusCondition(req.Status.Conditions, v1alpha1.ConditionRoleChanged) == nil
}

// settled says whether a step neither does nor says anything new.
func settled(now time.Time, req *v1alpha1.AccessRequest, step grant.Step) bool {
	if silent(req, step) {
		return true
	}
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
func (r *RequestReconciler) observe(ctx context.Context, bindings, decisions client.Reader, req *v1alpha1.AccessRequest) (grant.Observed, error) {
	seen := grant.Observed{Skew: r.clock.Ahead(), Admission: r.admission()}
	lost := r.memory.Of(req.UID) // before the binding is looked for, which may be made meanwhile
	b := &rbacv1.RoleBinding{}
	key := client.ObjectKey{Namespace: req.Namespace, Name: binding.Name(req)}
	err := bindings.Get(ctx, key, b)
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
	seen.Decisions, err = decisionsOn(ctx, decisions, req)
	return seen, err
}

// decisionsOn are the decisions on a request, to be read only: those of the cache are no
// copies, since whoever may decide may make very many.
func decisionsOn(ctx context.Context, reader client.Reader, req *v1alpha1.AccessRequest) ([]v1alpha1.AccessDecision, error) {
	list := &v1alpha1.AccessDecisionList{}
	onIt := client.MatchingFields{requestUIDField: string(req.UID)}
	if err := reader.List(ctx, list, client.InNamespace(req.Namespace), onIt, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing decisions: %w", err)
	}
	return list.Items, nil
}
