// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/grant"
)

// RequestReconciler takes AccessRequests from asking to their end.
type RequestReconciler struct {
	Options
	client.Client
	// Ending says whether many grants are ending at the moment; nil is never.
	Ending func() bool
	judges judges
	// patience with a deletion; zero is without end.
	patience time.Duration
	// made are the grants that were given; nil is none.
	made *madeGrants
	// rest bounds how many deletions there are at once that nobody's access waits for.
	rest chan struct{}
	// pinned are the bindings that were told to be.
	pinned recentUIDs
}

// NewRequestReconciler reads through c, and past its cache through o.Live.
func NewRequestReconciler(c client.Client, o Options) *RequestReconciler {
	return &RequestReconciler{Options: o, Client: c, judges: newJudges(c, o), rest: make(chan struct{}, workers/4)}
}

// Reconcile takes one request one step further: look, decide, act, record, tell.
func (r *RequestReconciler) Reconcile(ctx context.Context, key ctrl.Request) (ctrl.Result, error) {
	req, now := &v1alpha1.AccessRequest{}, r.now()
	if err := r.Get(ctx, key.NamespacedName, req); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if r.yields(now, req) {
		return ctrl.Result{RequeueAfter: yieldFor, Priority: priorityOf(req)}, nil
	}
	step, seen, err := r.decide(ctx, now, req)
	if err != nil {
		return ctrl.Result{}, err
	}
	outcome, actErr := r.act(ctx, req, seen, step)
	now = r.now()
	if step.Ends() {
		outcome.EndedAt(now) // which took a while
	}
	before := req.DeepCopy()
	setStatus(now, req, outcome)
	setRoleChanged(now, req, step.Role)
	if err := r.record(ctx, before, req); err != nil {
		return ctrl.Result{}, errors.Join(actErr, err)
	}
	r.announce(ctx, before, req)
	after := step.After
	if outcome != nil && outcome.State == v1alpha1.StateFailed {
		after = now.Add(grant.RetryAfter)
	}
	switch {
	case errors.Is(actErr, errRestWaits):
		return ctrl.Result{RequeueAfter: wait.Jitter(pinnedRetry, 1), Priority: &endLast}, nil
	case actErr != nil || after.IsZero():
		return ctrl.Result{}, actErr
	}
	return ctrl.Result{RequeueAfter: max(after.Sub(now), time.Millisecond), Priority: priorityOf(req)}, nil
}

// decide says what comes next. What ends access is decided by what the cache says;
// before anything is granted or said, everything is read again from the API server.
func (r *RequestReconciler) decide(ctx context.Context, now time.Time, req *v1alpha1.AccessRequest) (grant.Step, grant.Observed, error) {
	seen, err := r.observe(ctx, r.Client, req)
	if err != nil {
		return grant.Step{}, seen, err
	}
	step, err := grant.Next(now, req, r.judges.of(ctx, r.judges.cached(), now, req), seen, r.settings())
	withdrawn := err == nil && step.Withdraws()
	if withdrawn {
		step = r.confirmWithdrawal(ctx, now, req, seen, step)
	}
	if err != nil || step.Ends() || settled(now, req, step) {
		return step, seen, err
	}
	seen, gone, err := r.lookAgain(ctx, req)
	if err != nil || gone {
		return grant.Step{}, seen, err
	}
	now = r.now() // by the clock that those answers showed
	// A refusal is for good, so it is made by all policies as they are now. A grant is
	// made by one, which is confirmed before it is given.
	sources := r.judges.fresh()
	if withdrawn || step.Outcome != nil && step.Outcome.State == v1alpha1.StateDenied {
		sources.policies = r.Live
	}
	step, err = grant.Next(now, req, r.judges.of(ctx, sources, now, req), seen, r.settings())
	return step, seen, err
}

// confirmWithdrawal judges a grant again that its policy is said to allow no more: the
// cache may not have seen that policy yet, by which the grant was made. If the API server
// does not answer, access ends.
func (r *RequestReconciler) confirmWithdrawal(ctx context.Context, now time.Time, req *v1alpha1.AccessRequest, seen grant.Observed, step grant.Step) grant.Step {
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	sources := r.judges.fresh()
	sources.policies = r.Live
	if again, err := grant.Next(now, req, r.judges.of(ctx, sources, now, req), seen, r.settings()); err == nil {
		return again
	}
	return step
}

// lookAgain reads everything from the API server, the request into req. The binding
// comes first, in the opposite order to what is written: status knows of a grant before
// its binding goes, so that if there is no binding, status that is read after it knows of
// every grant that there was.
func (r *RequestReconciler) lookAgain(ctx context.Context, req *v1alpha1.AccessRequest) (seen grant.Observed, gone bool, err error) {
	if seen, err = r.observe(ctx, r.Live, req); err != nil {
		return seen, false, err
	}
	live := &v1alpha1.AccessRequest{}
	err = r.Live.Get(ctx, client.ObjectKeyFromObject(req), live)
	if err != nil || live.UID != req.UID {
		// Another one of that name is looked at when the cache has it.
		return seen, true, client.IgnoreNotFound(err)
	}
	*req = *live
	if seen.Binding == nil && req.Status.State == v1alpha1.StateActive {
		seen, err = r.observe(ctx, r.Live, req) // it may have been granted in between
	}
	seen.Skew = r.Skew()
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

// observe looks at what there is. That a binding is missing is believed only of
// the API server: the cache may not have seen it yet, or may not see it any more
// because somebody took its labels off.
func (r *RequestReconciler) observe(ctx context.Context, reader client.Reader, req *v1alpha1.AccessRequest) (grant.Observed, error) {
	seen := grant.Observed{Skew: r.Skew(), Admission: r.Admission()}
	made := r.made.of(req.UID) // before the binding is looked for, which may be made meanwhile
	binding := &rbacv1.RoleBinding{}
	key := client.ObjectKey{Namespace: req.Namespace, Name: grant.BindingName(req)}
	err := reader.Get(ctx, key, binding)
	if apierrors.IsNotFound(err) && req.Status.State == v1alpha1.StateActive {
		err = r.Live.Get(ctx, key, binding)
	}
	switch {
	case err == nil:
		seen.Binding = binding
	case !apierrors.IsNotFound(err):
		return seen, fmt.Errorf("reading RoleBinding %s: %w", key, err)
	default:
		seen.Lost = made
	}
	if req.Status.State.Final() {
		return seen, nil
	}
	decisions := &v1alpha1.AccessDecisionList{}
	if err := reader.List(ctx, decisions, client.InNamespace(req.Namespace), client.MatchingFields{requestUIDField: string(req.UID)}); err != nil {
		return seen, fmt.Errorf("listing decisions: %w", err)
	}
	seen.Decisions = decisions.Items
	return seen, nil
}

// act does what the step says, and returns what became of it.
func (r *RequestReconciler) act(ctx context.Context, req *v1alpha1.AccessRequest, seen grant.Observed, step grant.Step) (*grant.Outcome, error) {
	switch step.Action {
	case grant.Nothing, "":
		return step.Outcome, nil
	case grant.Create:
		return r.create(ctx, req, step)
	case grant.Delete:
		return r.end(ctx, req, seen, step)
	case grant.Empty:
		if err := r.binder().empty(ctx, seen.Binding); err != nil {
			return nil, err // nothing is said to have ended that may go on
		}
		return step.Outcome, nil
	case grant.Forget:
		return nil, client.IgnoreNotFound(r.Delete(ctx, req, client.Preconditions{UID: &req.UID}))
	default:
		return nil, fmt.Errorf("unknown action %q", step.Action)
	}
}

// create binds the role. What stands in the way becomes the outcome if it is for
// people to mend, and an error if trying again may help.
func (r *RequestReconciler) create(ctx context.Context, req *v1alpha1.AccessRequest, step grant.Step) (*grant.Outcome, error) {
	if err := r.judges.confirm(ctx, step.Outcome.Policy); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, grant.CreateWindow/2)
	defer cancel()
	err := r.Create(ctx, step.Binding)
	switch {
	case err == nil:
		r.made.add(step.Binding)
		return step.Outcome, nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return grant.NamespaceTerminating(req), nil
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "attempting to grant RBAC permissions"):
		log.FromContext(ctx).Error(err, "the role cannot be bound", "role", req.Spec.RoleRef)
		return grant.BindForbidden(req, step.Outcome), nil
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return grant.BindFailed(step.Outcome, err), nil
	default:
		return nil, fmt.Errorf("creating RoleBinding %s/%s: %w", step.Binding.Namespace, step.Binding.Name, err)
	}
}

// record stores status, if it changed. With the lock, an operator that fell behind cannot
// write over a newer end. What changes the metadata of a request meanwhile keeps nothing
// from being recorded: the reason of an end would be lost.
func (r *RequestReconciler) record(ctx context.Context, before, req *v1alpha1.AccessRequest) error {
	if equality.Semantic.DeepEqual(before.Status, req.Status) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	status := req.Status
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		err := r.Status().Patch(ctx, req, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
		if !apierrors.IsConflict(err) {
			return client.IgnoreNotFound(err)
		}
		live := &v1alpha1.AccessRequest{}
		if r.Live.Get(ctx, client.ObjectKeyFromObject(req), live) != nil || !onlyMetadataDiffers(before, live) {
			return errors.New(err.Error()) // no conflict that can be tried again
		}
		*before, *req = *live, *live.DeepCopy()
		req.Status = status
		return err
	})
	if err != nil {
		return fmt.Errorf("writing status: %w", err)
	}
	return nil
}

// onlyMetadataDiffers says whether what was decided for one holds for the other.
func onlyMetadataDiffers(a, b *v1alpha1.AccessRequest) bool {
	return a.UID == b.UID && a.Generation == b.Generation && a.DeletionTimestamp.Equal(b.DeletionTimestamp) &&
		equality.Semantic.DeepEqual(a.Status, b.Status)
}

func (r *RequestReconciler) settings() grant.Settings {
	return grant.Settings{MaxDuration: r.Limits.MaxDuration, Retention: r.Retention}
}
