// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"errors"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
)

// RetryAfter is when a request that cannot be bound yet is tried again, if nothing
// that it waits for is seen to change before.
const RetryAfter = time.Minute

const (
	// MaxAhead is how long before its notBefore a request may be made.
	MaxAhead = 30 * 24 * time.Hour
	// MaxWait is how long an allowed request may wait to be granted.
	MaxWait = 24 * time.Hour
)

// backstop is how long after a deadline a request is looked at though nobody told
// that its binding went. Ending access on time is not up to the request.
const backstop = 5 * time.Second

// Next says what happens next to a request. An error means that it could not be
// told; it only ever stands where access might have been given.
func Next(now time.Time, req *v1alpha1.AccessRequest, judge Judge, seen Observed, set Settings) (Step, error) {
	switch {
	case req.Status.State.Final():
		return final(now, req, seen, set), nil
	case req.Status.Grant != nil:
		return recorded(now, req, *req.Status.Grant, judge, seen, set)
	case seen.Binding != nil:
		return unrecorded(now, req, judge, seen, set)
	default:
		return undecided(now, req, judge, seen)
	}
}

// final keeps a request that is over as a record, and nothing else of it.
func final(now time.Time, req *v1alpha1.AccessRequest, seen Observed, set Settings) Step {
	if b := seen.Binding; b != nil && ownedBy(b, req.UID) {
		return Step{Action: Delete}
	}
	if set.Retention <= 0 || tracked(req) || req.DeletionTimestamp != nil {
		return Step{Action: Nothing}
	}
	forget := endOf(req).Add(set.Retention)
	if now.Before(forget) {
		return Step{Action: Nothing, After: forget}
	}
	return Step{Action: Forget}
}

// recorded looks after a grant that status knows of.
func recorded(now time.Time, req *v1alpha1.AccessRequest, g v1alpha1.Grant, judge Judge, seen Observed, set Settings) (Step, error) {
	if reason, message := ending(now, req, g, seen, set); reason != "" {
		return Step{Action: Delete, Outcome: ended(now, req, g, reason, message)}, nil
	}
	if back := returned(req, seen.Decisions); back != nil {
		return Step{Action: Delete, Outcome: endedBy(now, req, g, v1alpha1.ReasonReturned, back)}, nil
	}
	objections, err := judge.Objections(g)
	if len(objections) > 0 {
		message := fmt.Sprintf("policy %s does not allow this any more: %s", policyName(req), strings.Join(objections, "; "))
		return Step{Action: Delete, Outcome: ended(now, req, g, v1alpha1.ReasonPolicyWithdrawn, message)}, nil
	}
	no, noErr := stopped(req, policyName(req), judge, seen.Decisions)
	if no != nil {
		return Step{Action: Delete, Outcome: endedBy(now, req, g, v1alpha1.ReasonRevoked, no)}, nil
	}
	return Step{Action: Nothing, After: deadlineOf(req, g, seen, set).Add(backstop)}, errors.Join(err, noErr)
}

// ending is why a recorded grant ends whatever policies and people say; empty if it
// does not.
func ending(now time.Time, req *v1alpha1.AccessRequest, g v1alpha1.Grant, seen Observed, set Settings) (reason, message string) {
	switch {
	case req.DeletionTimestamp != nil:
		return v1alpha1.ReasonRevoked, "the request is being deleted"
	case !now.Before(g.ExpiresAt.Time):
		return v1alpha1.ReasonExpired, "access ended as promised at " + timestamp(g.ExpiresAt.Time)
	case !now.Before(g.GrantedAt.Add(set.MaxDuration + MaxSkew)):
		return v1alpha1.ReasonExpired, fmt.Sprintf("access ended at the operator's ceiling of %s", set.MaxDuration)
	case seen.Binding == nil || seen.Binding.DeletionTimestamp != nil:
		return v1alpha1.ReasonRevoked, fmt.Sprintf("RoleBinding %s was deleted by somebody else", g.Binding)
	}
	if changed := changes(req, g, seen); len(changed) > 0 {
		return v1alpha1.ReasonTampered, fmt.Sprintf("RoleBinding %s was changed by somebody else (%s) and is removed", g.Binding, strings.Join(changed, ", "))
	}
	if !now.Before(deadlineOf(req, g, seen, set)) {
		return v1alpha1.ReasonExpired, fmt.Sprintf("access ended at the operator's ceiling of %s", set.MaxDuration)
	}
	return "", ""
}

// deadlineOf is the earliest end that is known of a grant.
func deadlineOf(req *v1alpha1.AccessRequest, g v1alpha1.Grant, seen Observed, set Settings) time.Time {
	if b := seen.Binding; b != nil && ownedBy(b, req.UID) && Deadline(b, set.MaxDuration).Before(g.ExpiresAt.Time) {
		return Deadline(b, set.MaxDuration)
	}
	return g.ExpiresAt.Time
}

// unrecorded looks after a binding that has our name while status knows of no
// grant: the operator was killed in between, or it is a stranger's.
func unrecorded(now time.Time, req *v1alpha1.AccessRequest, judge Judge, seen Observed, set Settings) (Step, error) {
	b := seen.Binding
	g, readable := grantOf(b)
	if !readable || !ownedBy(b, req.UID) {
		return Step{Action: Nothing, Outcome: conflict(b.Name), After: now.Add(RetryAfter)}, nil
	}
	end := func(reason, message string) (Step, error) {
		return Step{Action: Empty, Outcome: ended(now, req, g, reason, message)}, nil
	}
	switch {
	case req.DeletionTimestamp != nil:
		return end(v1alpha1.ReasonRevoked, "the request is being deleted")
	case !now.Before(Deadline(b, set.MaxDuration)):
		return end(v1alpha1.ReasonExpired, "access ended as promised at "+timestamp(g.ExpiresAt.Time))
	case b.DeletionTimestamp != nil:
		return end(v1alpha1.ReasonRevoked, fmt.Sprintf("RoleBinding %s was deleted by somebody else", b.Name))
	}
	if back := returned(req, seen.Decisions); back != nil {
		return Step{Action: Empty, Outcome: endedBy(now, req, g, v1alpha1.ReasonReturned, back)}, nil
	}
	return adopt(now, req, g, judge, seen)
}

// adopt records a binding that the operator created before it was killed.
func adopt(now time.Time, req *v1alpha1.AccessRequest, g v1alpha1.Grant, judge Judge, seen Observed) (Step, error) {
	// It is recorded if it is exactly what would be granted now, but for its end.
	step, err := undecided(now, req, judge, seen)
	if err != nil {
		return Step{}, err
	}
	b, want := seen.Binding, step.Binding
	if step.Action != Create || b.Annotations[v1alpha1.PolicyAnnotation] != step.Outcome.Policy.Name {
		message := fmt.Sprintf("policy %s does not allow this any more: %s", b.Annotations[v1alpha1.PolicyAnnotation], step.Outcome.Message)
		return Step{Action: Empty, Outcome: ended(now, req, g, v1alpha1.ReasonPolicyWithdrawn, message)}, nil
	}
	want.Annotations[v1alpha1.ExpiresAtAnnotation] = b.Annotations[v1alpha1.ExpiresAtAnnotation]
	want.Annotations[v1alpha1.CreateByAnnotation] = b.Annotations[v1alpha1.CreateByAnnotation]
	if len(differences(b, want)) > 0 || g.ExpiresAt.After(step.Outcome.Grant.ExpiresAt.Time) {
		return Step{Action: Nothing, Outcome: conflict(b.Name), After: now.Add(RetryAfter)}, nil
	}
	step.Outcome.Grant = &g
	return Step{Action: Nothing, Outcome: step.Outcome, After: g.ExpiresAt.Add(backstop)}, nil
}

// undecided judges a request that was never granted.
func undecided(now time.Time, req *v1alpha1.AccessRequest, judge Judge, seen Observed) (Step, error) {
	if req.DeletionTimestamp != nil {
		return Step{Action: Nothing}, nil
	}
	if back := returned(req, seen.Decisions); back != nil {
		return Step{Action: Nothing, Outcome: withdrawn(back)}, nil
	}
	d, err := judge.Decide()
	if err != nil {
		return Step{}, err
	}
	switch d.Verdict {
	case policy.Allowed:
		no, err := stopped(req, d.Policy.Name, judge, seen.Decisions)
		if err != nil {
			return Step{}, err
		}
		if no != nil {
			return refuse(v1alpha1.ReasonDenied, "denied by "+said(no), d.Policy), nil
		}
		return allowed(now, req, d, seen), nil
	case policy.RoleMissing:
		return Step{Action: Nothing, Outcome: failed(v1alpha1.ReasonRoleNotFound, d.Message(), d.Policy), After: now.Add(RetryAfter)}, nil
	case policy.NoMatchingPolicy:
		return refuse(v1alpha1.ReasonNoMatchingPolicy, d.Message(), nil), nil
	case policy.Denied:
		return refuse(v1alpha1.ReasonDenied, d.Message(), nil), nil
	default:
		return Step{}, fmt.Errorf("unknown verdict %q", d.Verdict)
	}
}

// allowed grants what a policy allows, when nothing else has to come first.
func allowed(now time.Time, req *v1alpha1.AccessRequest, d policy.Decision, seen Observed) Step {
	if refusal := untimely(now, req, d); refusal != "" {
		return refuse(v1alpha1.ReasonDenied, refusal, d.Policy)
	}
	tally := d.Count(req, seen.Decisions, approveBy(req, d))
	if !tally.Met() {
		return awaitApproval(now, req, d, tally)
	}
	if start := req.Spec.NotBefore; start != nil && now.Before(start.Time) {
		return Step{Action: Nothing, After: start.Time, Outcome: &Outcome{
			State: v1alpha1.StateScheduled, Reason: v1alpha1.ReasonScheduled, Policy: d.Policy, Approvals: tally.Counted,
			Message: "allowed by policy " + d.Policy.Name + "; access begins at " + timestamp(start.Time),
		}}
	}
	subject, err := policy.GrantSubject(&req.Spec)
	if err != nil {
		return refuse(v1alpha1.ReasonDenied, err.Error(), nil)
	}
	grantedAt := now.Truncate(time.Second)
	g := v1alpha1.Grant{
		Binding:   BindingName(req),
		GrantedAt: metav1.NewTime(grantedAt),
		ExpiresAt: metav1.NewTime(expiry(req, d, grantedAt)),
	}
	outcome := granted(d, g, tally)
	if skew := seen.Skew.Abs(); skew > MaxSkew {
		return Step{Action: Nothing, After: now.Add(MaxSkew / 2), Outcome: instead(v1alpha1.ReasonClockSkew, fmt.Sprintf(
			"the clocks of operator and API server are %s apart, and at most %s is safe: set them (NTP); nothing is granted until then",
			skew.Round(time.Second), MaxSkew), outcome)}
	}
	return Step{Action: Create, Binding: newBinding(req, subject, d.Policy.Name, g), Outcome: outcome, After: g.ExpiresAt.Add(backstop)}
}

// untimely says why a request is too old to be granted, or made too early: who asked,
// and in which groups they were, was true when it was made. Empty if it is neither.
func untimely(now time.Time, req *v1alpha1.AccessRequest, d policy.Decision) string {
	from := req.CreationTimestamp.Time
	if len(d.Approvals) > 0 {
		from = approveBy(req, d)
	}
	if start := req.Spec.NotBefore; start != nil {
		if start.After(req.CreationTimestamp.Add(MaxAhead)) {
			return fmt.Sprintf("notBefore %s is more than %d days after the request was made; create one nearer to the time", timestamp(start.Time), MaxAhead/(24*time.Hour))
		}
		if start.After(from) {
			from = start.Time
		}
	}
	if limit := from.Add(MaxWait); now.After(limit) {
		return fmt.Sprintf("access could not be given by %s, and is not given later; create a new request", timestamp(limit))
	}
	return ""
}

// approveBy is the moment from which an approval comes too late.
func approveBy(req *v1alpha1.AccessRequest, d policy.Decision) time.Time {
	return req.CreationTimestamp.Add(d.ApprovalTimeout)
}

func awaitApproval(now time.Time, req *v1alpha1.AccessRequest, d policy.Decision, tally policy.Tally) Step {
	until := approveBy(req, d)
	o := &Outcome{
		State: v1alpha1.StatePending, Reason: v1alpha1.ReasonPendingApproval, Policy: d.Policy, Approvals: tally.Counted,
		Message: fmt.Sprintf("%s (policy %s), until %s", tally.Text(), d.Policy.Name, timestamp(until)),
	}
	if now.Before(until) {
		return Step{Action: Nothing, After: until, Outcome: o}
	}
	o.State, o.Reason = v1alpha1.StateDenied, v1alpha1.ReasonApprovalTimedOut
	o.Message = fmt.Sprintf("not approved within %s, by %s: %s (policy %s); create a new request", d.ApprovalTimeout, timestamp(until), tally.Text(), d.Policy.Name)
	return Step{Action: Nothing, Outcome: o}
}

// expiry is when access ends that begins at grantedAt.
func expiry(req *v1alpha1.AccessRequest, d policy.Decision, grantedAt time.Time) time.Time {
	end := grantedAt.Add(d.Duration).Truncate(time.Second)
	if limit := req.Spec.NotAfter; limit != nil && limit.Time.Before(end) {
		return limit.Time
	}
	return end
}
