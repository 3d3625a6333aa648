// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/grant"
)

const (
	// leftToEnding is how long after its deadline a binding is left to controllers/ending.
	leftToEnding = 10 * time.Second
	// endingRetry is when a request is looked at again whose binding is left to
	// controllers/ending, if the informer does not show before that it is gone.
	endingRetry = 5 * time.Second
)

// errEnding says that controllers/ending is about to end the access.
var errEnding = errors.New("access is about to end by its deadline")

// urgent says whether access goes on by a request that has to end, as far as the cache
// tells at once: the request or the binding is deleted, somebody said no, its policy is not
// what it was, or controllers/ending has not ended it.
func (r *RequestReconciler) urgent(ctx context.Context, key ctrl.Request) bool {
	req, b := &v1alpha1.AccessRequest{}, &rbacv1.RoleBinding{}
	if r.client.Get(ctx, key.NamespacedName, req) != nil {
		return false
	}
	name := client.ObjectKey{Namespace: req.Namespace, Name: binding.Name(req)}
	if r.client.Get(ctx, name, b) != nil || len(b.Subjects) == 0 {
		return false
	}
	if late := r.clock.Now().Sub(binding.Deadline(b, r.settings.MaxDuration)); late >= 0 {
		return late >= leftToEnding
	}
	return req.DeletionTimestamp != nil || b.DeletionTimestamp != nil || req.Status.State.Final() || r.toldNo(ctx, req) || r.policyChanged(ctx, req)
}

func (r *RequestReconciler) toldNo(ctx context.Context, req *v1alpha1.AccessRequest) bool {
	decisions, err := decisionsOn(ctx, r.client, req)
	return err == nil && slices.ContainsFunc(decisions, func(d v1alpha1.AccessDecision) bool { return isNo(&d) })
}

func (r *RequestReconciler) policyChanged(ctx context.Context, req *v1alpha1.AccessRequest) bool {
	ref := req.Status.Policy
	if ref == nil {
		return false
	}
	p, err := named(ctx, r.client, ref.Name)
	return err == nil && !isStill(p, ref)
}

// endsByItself says whether a binding is left to controllers/ending, on every replica, for
// now: that may be late, or be kept from seeing it.
func (r *RequestReconciler) endsByItself(b *rbacv1.RoleBinding, step grant.Step) bool {
	late := r.clock.Now().Sub(binding.Deadline(b, r.settings.MaxDuration))
	if !binding.Managed(b) || late < 0 {
		return false
	}
	expired := step.Outcome != nil && step.Outcome.Reason == v1alpha1.ReasonExpired
	return len(b.Subjects) == 0 || expired && late < leftToEnding
}

// end deletes the binding, unless that is left to controllers/ending. Status is told once
// nobody holds the role by it; what is left of the object is seen to afterwards.
func (r *RequestReconciler) end(ctx context.Context, req *v1alpha1.AccessRequest, seen grant.Observed, step grant.Step) (*grant.Outcome, error) {
	left := seen.Binding
	byItself := left != nil && r.endsByItself(left, step)
	switch {
	case byItself && len(left.Subjects) > 0:
		return nil, errEnding
	case left != nil && !byItself:
		var err error
		if left, err = r.unbinder.Insist(ctx, left); err != nil {
			return nil, err
		}
	}
	if left == nil {
		return step.Outcome, nil
	}
	if len(left.Finalizers) > 0 {
		r.announcePinned(req, left)
	}
	if step.Outcome == nil && !byItself {
		return nil, fmt.Errorf("RoleBinding %s/%s has no subjects any more, but stays: %s", left.Namespace, left.Name, howToDelete(left))
	}
	return step.Outcome, nil
}

func howToDelete(left *rbacv1.RoleBinding) string {
	if len(left.Finalizers) > 0 {
		return fmt.Sprintf("remove its finalizers %v", left.Finalizers)
	}
	return "let the operator delete rolebindings, or mend the webhook that is in the way"
}

const (
	// yieldFor is when a request is looked at again whose record gave way to ends.
	yieldFor = 2 * time.Second
	// maxYield is how long after a deadline its record gives way to other ends: 10 000
	// of them take 15 to 20 s on two cores, and a record takes the time of two ends.
	maxYield = 30 * time.Second
)

// yields says whether recording the end of a grant can wait: its deadline has just
// passed, and many are ending.
func (r *RequestReconciler) yields(now time.Time, req *v1alpha1.AccessRequest) bool {
	g := req.Status.Grant
	return req.Status.State == v1alpha1.StateActive && g != nil && req.DeletionTimestamp == nil &&
		!now.Before(g.ExpiresAt.Time) && now.Before(g.ExpiresAt.Add(maxYield)) && r.busy()
}
