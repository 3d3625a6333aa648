// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/lru"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/grant"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/text"
)

const (
	// uncountedFor is how long after a decision it is told that it does not count: an operator
	// that starts tells nothing of those that were told long ago.
	uncountedFor = 5 * time.Minute
	// maxUncounted is of how many decisions on one request that is told. Whoever may decide
	// may make many.
	maxUncounted = 10
	// uncountedRequests is how many requests are remembered for that.
	uncountedRequests = 8192
)

// uncounted remembers of which decisions it was told that they do not count.
type uncounted struct {
	told *binding.UIDs
	// times by the UID of the request.
	times *lru.Cache
}

func newUncounted() *uncounted { return &uncounted{binding.NewUIDs(), lru.New(uncountedRequests)} }

// of is how many were told of on a request.
func (u *uncounted) of(req *v1alpha1.AccessRequest) int {
	if times, known := u.times.Get(req.UID); known {
		return times.(int)
	}
	return 0
}

// fresh are the decisions on a request of which there may be something to tell.
func (u *uncounted) fresh(now time.Time, req *v1alpha1.AccessRequest, decisions []v1alpha1.AccessDecision) (out []*v1alpha1.AccessDecision) {
	for i := range decisions {
		d := &decisions[i]
		if now.Sub(d.CreationTimestamp.Time) < uncountedFor && policy.Concerns(d, req) && !u.told.Has(d.UID) {
			out = append(out, d)
		}
	}
	return out
}

// announceUncounted tells of decisions that change nothing, once each, on the decision and on
// its request. It comes after all that ends or gives access, and after status; what cannot be
// told within a moment is told when the request is looked at again.
func (r *RequestReconciler) announceUncounted(ctx context.Context, now time.Time, req *v1alpha1.AccessRequest, seen grant.Observed) {
	u := r.uncounted
	if req.Status.State == "" || u.of(req) >= maxUncounted {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	decisions := seen.Decisions
	if req.Status.State.Final() { // of which nobody looks at decisions any more
		var err error
		if decisions, err = decisionsOn(ctx, r.client, req); err != nil {
			log.FromContext(ctx).Error(err, "whether decisions count is not told")
			return
		}
	}
	fresh := u.fresh(now, req, decisions)
	if len(fresh) == 0 {
		return
	}
	counting, err := r.counting(ctx, req, seen, decisions)
	if err != nil {
		log.FromContext(ctx).Error(err, "whether decisions count is not told")
		return
	}
	for _, d := range fresh {
		if u.of(req) >= maxUncounted {
			return
		}
		why, err := counting.Uncounted(req, d)
		if err != nil {
			log.FromContext(ctx).Error(err, "whether a decision counts is not told", "decision", d.Name)
			return
		}
		if why != "" {
			r.tellUncounted(ctx, req, d, why)
		}
	}
}

// counting has the policy only if it is still what the request was judged by: otherwise the
// request is judged again, and the decisions with it.
func (r *RequestReconciler) counting(ctx context.Context, req *v1alpha1.AccessRequest, seen grant.Observed, decisions []v1alpha1.AccessDecision) (grant.Counting, error) {
	c := grant.Counting{Decisions: decisions, Admission: seen.Admission}
	ref := req.Status.Policy
	if ref == nil {
		return c, nil
	}
	p, err := named(ctx, r.client, ref.Name)
	if err != nil || !isStill(p, ref) {
		return c, err
	}
	mayEnd := r.judges.mayEnd(ctx, r.client, req)
	c.Policy, c.MayEnd = p, func(who *v1alpha1.Identity) (bool, error) { return mayEnd(ref.Name, who) }
	return c, nil
}

func (r *RequestReconciler) tellUncounted(ctx context.Context, req *v1alpha1.AccessRequest, d *v1alpha1.AccessDecision, why string) {
	r.uncounted.told.Add(d.UID)
	r.uncounted.times.Add(req.UID, r.uncounted.of(req)+1)
	note := text.Cut(grant.UncountedNote(d, why), maxNote)
	r.recorder.Eventf(d, req, corev1.EventTypeWarning, v1alpha1.ReasonDecisionNotCounted, "Count", "%s", note)
	r.recorder.Eventf(req, d, corev1.EventTypeWarning, v1alpha1.ReasonDecisionNotCounted, "Count", "%s", note)
	log.FromContext(ctx).Info("decision does not count", "request", req.Name, "decision", d.Name, "why", why)
}
