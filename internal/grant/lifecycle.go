// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/text"
)

// RetryAfter is when a request that cannot be bound yet, and is Failed, is looked at again, if
// nothing that it waits for is seen to change before.
const RetryAfter = time.Minute

const (
	// MaxAhead is how long before its notBefore a request may be made.
	MaxAhead = 30 * 24 * time.Hour
	// MaxWait is how long an allowed request may wait to be granted.
	MaxWait = 24 * time.Hour
	// MaxWaiting is how many requests of one requester may wait: for approvals, for their
	// notBefore, for a role or for the admission policies. Each of them is judged again when a policy changes.
	MaxWaiting = 100
)

// backstop is how long after a deadline a request is looked at though nobody told
// that its binding went. Ending access on time is not up to the request.
const backstop = 5 * time.Second

// Next says what happens next to a request. An error means that it could not be
// told; it only ever stands where access might have been given.
func Next(now time.Time, req v1alpha1.Request, judge Judge, seen Observed, set Settings) (Step, error) {
	switch {
	case req.RequestStatus().State.Final():
		return final(now, req, seen, set), nil
	case req.RequestStatus().Grant != nil:
		return recorded(now, req, *req.RequestStatus().Grant, judge, seen, set)
	case seen.Binding != nil:
		return unrecorded(now, req, judge, seen, set)
	case seen.Lost != nil && req.GetDeletionTimestamp() == nil:
		return lost(now, req, *seen.Lost), nil
	default:
		step, err := undecided(now, req, judge, seen)
		if o := OneTooMany(req, seen, step.Outcome); o != step.Outcome {
			step = Step{Action: Nothing, Outcome: o}
		}
		return keepingApprovals(req, step), err
	}
}

// keepingApprovals keeps who had approved in the record of a refusal.
func keepingApprovals(req v1alpha1.Request, step Step) Step {
	if o := step.Outcome; o != nil && o.State.Final() && o.Approvals == nil {
		o.Approvals = req.RequestStatus().Approvals
	}
	return step
}

// OneTooMany is the outcome, or that the request is refused: it would have to wait, and as many
// of the same requester as may be wait already.
func OneTooMany(req v1alpha1.Request, seen Observed, o *Outcome) *Outcome {
	if o == nil || req.RequestStatus().State != "" || seen.Waiting < MaxWaiting {
		return o
	}
	switch o.Reason {
	case v1alpha1.ReasonPendingApproval, v1alpha1.ReasonScheduled, v1alpha1.ReasonAdmissionNotEnforced, v1alpha1.ReasonRoleNotFound, v1alpha1.ReasonRoleEmpty,
		v1alpha1.ReasonConditionsTooCostly, v1alpha1.ReasonBindForbidden, v1alpha1.ReasonBindFailed, v1alpha1.ReasonBindingConflict:
		return refuse(v1alpha1.ReasonDenied, fmt.Sprintf(
			"%d requests of this requester wait already, in all namespaces together, and no more than %d may; take some back (kubectl lapse get -A --mine shows them, kubectl lapse return takes one back) or wait for an answer, and create a new request",
			seen.Waiting, MaxWaiting), o.Policy).Outcome
	default:
		return o
	}
}

// undecided judges a request that was never granted.
func undecided(now time.Time, req v1alpha1.Request, judge Judge, seen Observed) (Step, error) {
	if req.GetDeletionTimestamp() != nil {
		return Step{Action: Nothing}, nil
	}
	if back := returned(req, seen.Decisions); back != nil {
		return Step{Action: Nothing, Outcome: takenBack(back)}, nil
	}
	if gap := seen.Admission.Gap(req.GetCreationTimestamp()); gap != nil {
		return inGap(now, req, seen.Admission, gap), nil
	}
	d, err := judge.Decide()
	if err != nil {
		return Step{}, err
	}
	if d.Verdict == policy.TooCostly {
		d.Policy = req.RequestStatus().Policy // it waits for that one still
	}
	if d.Policy != nil {
		// Also by those who could deny it under the policy that it waited for before.
		no, err := firstNo(req, judge, seen.Decisions, d.Policy.Name, policyName(req))
		if err != nil {
			return Step{}, err
		}
		if no != nil {
			return refuse(v1alpha1.ReasonDenied, deniedBy+said(no), d.Policy), nil
		}
	}
	return judged(now, req, d, seen)
}

// judged does what policies say of a request that nobody denied.
func judged(now time.Time, req v1alpha1.Request, d policy.Decision, seen Observed) (Step, error) {
	switch d.Verdict {
	case policy.Allowed:
		return allowed(now, req, d, seen), nil
	case policy.RoleMissing:
		return Step{Action: Nothing, Outcome: failed(v1alpha1.ReasonRoleNotFound, d.Message(), d.Policy)}, nil
	case policy.RoleEmpty:
		return Step{Action: Nothing, Outcome: failed(v1alpha1.ReasonRoleEmpty, d.Message(), d.Policy)}, nil
	case policy.TooCostly:
		return Step{Action: Nothing, Outcome: failed(v1alpha1.ReasonConditionsTooCostly, d.Message(), d.Policy)}, nil
	case policy.NoMatchingPolicy:
		return refuse(v1alpha1.ReasonNoMatchingPolicy, d.Message(), nil), nil
	case policy.Denied:
		return refuse(v1alpha1.ReasonDenied, d.Message(), nil), nil
	default:
		return Step{}, fmt.Errorf("unknown verdict %q", d.Verdict)
	}
}

// allowed grants what a policy allows, when nothing else has to come first.
func allowed(now time.Time, req v1alpha1.Request, d policy.Decision, seen Observed) Step {
	if refusal := untimely(now, req, d); refusal != "" {
		return refuse(v1alpha1.ReasonDenied, refusal, d.Policy)
	}
	tally := d.Count(req, provenDecisions(seen.Admission, seen.Decisions), approveBy(req, d))
	if !tally.Met() && approvedInDoubt(seen) {
		return Step{Action: Nothing, After: now.Add(RetryAfter)}
	}
	if !tally.Met() {
		return awaitApproval(now, req, d, tally)
	}
	if start := req.RequestSpec().NotBefore; start != nil && now.Before(start.Time) {
		return Step{Action: Nothing, After: start.Time, Outcome: &Outcome{
			State: v1alpha1.StateScheduled, Reason: v1alpha1.ReasonScheduled, Policy: d.Policy, Approvals: tally.Counted,
			Message: "allowed by policy " + d.Policy.Name + "; access begins at " + text.Time(start.Time),
		}}
	}
	subject, err := policy.GrantSubject(req.RequestSpec())
	if err != nil {
		return refuse(v1alpha1.ReasonDenied, err.Error(), nil)
	}
	grantedAt := beginning(now, seen)
	g := v1alpha1.Grant{
		Binding:   binding.Name(req),
		GrantedAt: metav1.NewTime(grantedAt),
		ExpiresAt: metav1.NewTime(expiry(req, d, grantedAt)),
		Role:      d.Role.Record(),
	}
	outcome := granted(d, g, tally)
	if !seen.Admission.Enforced {
		return unenforced(now, seen.Admission, outcome)
	}
	if skew := seen.Skew.Abs(); skew > binding.MaxSkew {
		return Step{Action: Nothing, Outcome: instead(v1alpha1.ReasonClockSkew, fmt.Sprintf(
			"the clocks of operator and API server are %s apart, and at most %s is safe: set them (NTP); nothing is granted until then",
			skew.Round(time.Second), binding.MaxSkew), outcome)}
	}
	b := binding.New(req, subject, d.Policy.Name, g)
	if d.WhileHeld == v1alpha1.WhileHeldNoNewPower {
		b.Labels[v1alpha1.WhileHeldLabel] = string(d.WhileHeld)
	}
	return Step{Action: Create, Binding: b, Outcome: outcome, After: g.ExpiresAt.Add(backstop)}
}

// beginning is when access begins: now or, when it began already and is to be recorded,
// when that was. Its own annotation may have been put off, so it counts no later than
// what the API server knows of it.
func beginning(now time.Time, seen Observed) time.Time {
	began := now.Truncate(time.Second)
	b := seen.Binding
	if b == nil {
		return began
	}
	if g, ok := binding.Of(b); ok && g.GrantedAt.Time.Before(began) {
		began = g.GrantedAt.Time
	}
	if latest := b.CreationTimestamp.Add(binding.CreateWindow); latest.Before(began) {
		return latest
	}
	return began
}

// untimely says why a request is too old to be granted, or made too early: who asked,
// and in which groups they were, was true when it was made. Nor may its manifest give access
// again and again for years, each time that its record is gone. Empty if nothing is wrong.
func untimely(now time.Time, req v1alpha1.Request, d policy.Decision) string {
	from := req.GetCreationTimestamp().Time
	if len(d.Approvals) > 0 {
		from = approveBy(req, d)
	}
	if start := req.RequestSpec().NotBefore; start != nil {
		if start.After(req.GetCreationTimestamp().Add(MaxAhead)) {
			return fmt.Sprintf("notBefore %s is more than %d days after the request was made; create one nearer to the time", text.Time(start.Time), MaxAhead/(24*time.Hour))
		}
		if start.After(from) {
			from = start.Time
		}
	}
	latest := req.GetCreationTimestamp().Add(MaxAhead + d.MaxDuration)
	if end := req.RequestSpec().NotAfter; end != nil && end.After(latest) {
		return fmt.Sprintf("notAfter %s is later than %s, which is %d days and the longest access (%s) after the request was made; create one with an earlier notAfter",
			text.Time(end.Time), text.Time(latest), MaxAhead/(24*time.Hour), text.Duration(d.MaxDuration))
	}
	if limit := from.Add(MaxWait); now.After(limit) {
		return fmt.Sprintf("access could not be given by %s, and is not given later; create a new request", text.Time(limit))
	}
	return ""
}

// approveBy is the moment from which an approval comes too late.
func approveBy(req v1alpha1.Request, d policy.Decision) time.Time {
	return req.GetCreationTimestamp().Add(d.ApprovalTimeout)
}

func awaitApproval(now time.Time, req v1alpha1.Request, d policy.Decision, tally policy.Tally) Step {
	until := approveBy(req, d)
	o := &Outcome{
		State: v1alpha1.StatePending, Reason: v1alpha1.ReasonPendingApproval, Policy: d.Policy, Approvals: tally.Counted,
		Message: fmt.Sprintf("%s (policy %s), until %s", tally.Text(), d.Policy.Name, text.Time(until)),
	}
	if now.Before(until) {
		return Step{Action: Nothing, After: until, Outcome: o}
	}
	o.State, o.Reason = v1alpha1.StateDenied, v1alpha1.ReasonApprovalTimedOut
	o.Message = fmt.Sprintf("not approved within %s, by %s: %s (policy %s); create a new request", d.ApprovalTimeout, text.Time(until), tally.Text(), d.Policy.Name)
	return Step{Action: Nothing, Outcome: o}
}

// expiry is when access ends that begins at grantedAt.
func expiry(req v1alpha1.Request, d policy.Decision, grantedAt time.Time) time.Time {
	end := grantedAt.Add(d.Duration).Truncate(time.Second)
	if limit := req.RequestSpec().NotAfter; limit != nil && limit.Time.Before(end) {
		return limit.Time
	}
	return end
}
