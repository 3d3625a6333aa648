// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"fmt"
	"slices"
	"time"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/admission"
	"github.com/lapse-dev/lapse/internal/text"
)

// provenDecisions leaves out the approvals that may have been made in a gap. A no
// counts whoever gave it.
func provenDecisions(a admission.State, decisions []v1alpha1.AccessDecision) []v1alpha1.AccessDecision {
	if len(a.Gaps) == 0 {
		return decisions
	}
	out := make([]v1alpha1.AccessDecision, 0, len(decisions))
	for i := range decisions {
		if decisions[i].Spec.Verdict != v1alpha1.VerdictApprove || a.Gap(decisions[i].CreationTimestamp) == nil {
			out = append(out, decisions[i])
		}
	}
	return out
}

// approvedInDoubt says whether an approval may count once it is certain whether there was a gap.
func approvedInDoubt(seen Observed) bool {
	return slices.ContainsFunc(seen.Decisions, func(d v1alpha1.AccessDecision) bool {
		return d.Spec.Verdict == v1alpha1.VerdictApprove && seen.Admission.InDoubt(d.CreationTimestamp)
	})
}

// inGap is what becomes of a request that was made in a gap.
func inGap(now time.Time, req v1alpha1.Request, a admission.State, gap *admission.Gap) Step {
	switch {
	case !gap.Doubtful:
		return unproven(gap)
	case req.RequestStatus().State == "":
		return unenforced(now, a, &Outcome{})
	default:
		return Step{Action: Nothing, After: now.Add(RetryAfter)}
	}
}

// unproven refuses a request that may say of who made it what is not true.
func unproven(gap *admission.Gap) Step {
	when := fmt.Sprintf(" between %s and %s", text.Time(gap.From), text.Time(gap.Until))
	once := ""
	if gap.Until.IsZero() {
		once = " some seconds after a cluster admin has put the policies back: " + admission.PutBack
	}
	switch {
	case gap.From.IsZero() && gap.Until.IsZero():
		when = ""
	case gap.From.IsZero():
		when = " before " + text.Time(gap.Until)
	case gap.Until.IsZero():
		when = " after " + text.Time(gap.From)
	}
	return refuse(v1alpha1.ReasonAdmissionGap, fmt.Sprintf(
		"the request was made%s, when it was not certain that the admission policies were in force (%s), so nothing proves what it says of itself; create it again%s", when, gap.Cause, once), nil)
}

// unenforced holds a grant back until the policies are in force.
func unenforced(now time.Time, a admission.State, meant *Outcome) Step {
	if a.Problem == "" {
		return Step{Action: Nothing, After: now.Add(time.Second)} // nobody has looked yet: that takes a moment
	}
	return Step{Action: Nothing, Outcome: instead(v1alpha1.ReasonAdmissionNotEnforced,
		"nothing is granted until it is certain that the admission policies are in force: "+a.Problem+"; "+a.Remedy, meant)}
}
