// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/retry"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/admission"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/grant"
	"github.com/lapse-dev/lapse/internal/servertime"
	"github.com/lapse-dev/lapse/internal/unbind"
)

// RequestReconciler takes AccessRequests from asking to their end.
type RequestReconciler struct {
	client    client.Client
	live      client.Reader
	atOnce    func(first func() error, others ...func()) error
	clock     *servertime.Clock
	recorder  events.EventRecorder
	admission func() admission.State
	// busy says whether many grants are ending at the moment.
	busy     func() bool
	memory   binding.Memory
	judges   judges
	unbinder unbind.Unbinder
	settings grant.Settings
	metadata binding.Metadata
	// redact leaves out of the log what people wrote.
	redact bool
	turns  *turns
	// pinned are the bindings of which it was told that finalizers keep them.
	pinned    *binding.UIDs
	uncounted *uncounted
	// forgotten are requests that this replica deleted: the cache has them for a while yet.
	forgotten *binding.UIDs
}

// NewRequestReconciler has all that it needs from the options.
func NewRequestReconciler(o Options) *RequestReconciler {
	if o.AtOnce == nil {
		o.AtOnce = atOnce
	}
	return &RequestReconciler{
		client: o.Client, live: o.Live, atOnce: o.AtOnce, clock: o.Clock, recorder: o.Recorder, admission: o.Admission, busy: o.Busy, memory: o.Memory,
		judges:    newJudges(o.Client, o.Live, o.Limits),
		unbinder:  unbind.Unbinder{Writer: o.Client, Live: o.Live, Clock: o.Clock.Here},
		settings:  grant.Settings{MaxDuration: o.Limits.MaxDuration, Retention: o.Retention},
		metadata:  o.Metadata,
		redact:    o.Redact,
		turns:     newTurns(),
		pinned:    binding.NewUIDs(),
		uncounted: newUncounted(),
		forgotten: binding.NewUIDs(),
	}
}

// Reconcile takes one request one step further: look, decide, act, record, tell.
func (r *RequestReconciler) Reconcile(ctx context.Context, key ctrl.Request) (ctrl.Result, error) {
	req, now := &v1alpha1.AccessRequest{}, r.clock.Now()
	if err := r.client.Get(ctx, key.NamespacedName, req); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if r.yields(now, req) {
		return ctrl.Result{RequeueAfter: yieldFor, Priority: priorityOf(req)}, nil
	}
	if r.crowded(ctx, req) {
		return ctrl.Result{RequeueAfter: r.judges.repeats.comeBack(now), Priority: &judgedAgain}, nil
	}
	step, seen, err := r.decide(ctx, now, req)
	if err != nil {
		return ctrl.Result{}, err
	}
	if silent(req, step) {
		r.announceUncounted(ctx, now, req, seen)
		return again(now, req, step.After, nil, nil)
	}
	return r.carryOut(ctx, req, seen, step)
}

// carryOut does what a step says, records what became of that, and tells it.
func (r *RequestReconciler) carryOut(ctx context.Context, req *v1alpha1.AccessRequest, seen grant.Observed, step grant.Step) (ctrl.Result, error) {
	outcome, actErr := r.act(ctx, req, seen, step)
	outcome = grant.OneTooMany(req, seen, outcome) // what is not bound yet waits, too
	now := r.clock.Now()
	if step.Ends() {
		outcome.EndedAt(now) // which took a while
	}
	before := req.DeepCopy()
	setStatus(now, req, outcome)
	setRoleChanged(now, req, step.Role)
	if err := r.record(ctx, before, req); err != nil {
		var soon ctrl.Result
		if held(req) { // though status does not know that
			soon.Priority = &endFirst
		}
		return soon, errors.Join(actErr, err)
	}
	r.announce(ctx, before, req)
	// After an error an end may have to be tried again, and the word that has a request forgotten counts.
	if actErr == nil && step.Action != grant.Forget {
		r.announceUncounted(ctx, now, req, seen)
	}
	if grant.NeverHeld(req) && !before.Status.State.Final() {
		actErr = errors.Join(actErr, r.forgetSurplus(ctx, req))
	}
	return again(now, req, step.After, outcome, actErr)
}

// again says when to look again.
func again(now time.Time, req *v1alpha1.AccessRequest, after time.Time, outcome *grant.Outcome, actErr error) (ctrl.Result, error) {
	if outcome != nil && outcome.State == v1alpha1.StateFailed {
		after = now.Add(grant.RetryAfter)
	}
	switch {
	case errors.Is(actErr, errEnding):
		return ctrl.Result{RequeueAfter: wait.Jitter(endingRetry, 1), Priority: &endLast}, nil
	case actErr != nil || after.IsZero():
		return ctrl.Result{}, actErr
	}
	return ctrl.Result{RequeueAfter: max(after.Sub(now), time.Millisecond), Priority: priorityOf(req)}, nil
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
		if err := r.unbinder.Empty(ctx, seen.Binding); err != nil {
			return nil, err // nothing is said to have ended that may go on
		}
		return step.Outcome, nil
	case grant.Forget:
		return nil, client.IgnoreNotFound(r.client.Delete(ctx, req, client.Preconditions{UID: &req.UID}))
	default:
		return nil, fmt.Errorf("unknown action %q", step.Action)
	}
}

// create binds the role. What stands in the way becomes the outcome if it is for
// people to mend, and an error if trying again may help.
func (r *RequestReconciler) create(ctx context.Context, req *v1alpha1.AccessRequest, step grant.Step) (*grant.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, binding.CreateWindow/2)
	defer cancel()
	r.metadata.Put(step.Binding)
	err := r.client.Create(ctx, step.Binding)
	switch {
	case err == nil:
		r.memory.Add(step.Binding)
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
		err := r.client.Status().Patch(ctx, req, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
		if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return err
		}
		live := &v1alpha1.AccessRequest{}
		readErr := r.live.Get(ctx, client.ObjectKeyFromObject(req), live)
		if apierrors.IsNotFound(readErr) {
			return nil // of a write, a webhook may have said so
		}
		if readErr != nil || !apierrors.IsConflict(err) || !onlyMetadataDiffers(before, live) {
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
