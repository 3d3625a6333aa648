// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/admission"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/text"
)

// Counting is what it takes to say whether decisions on a request count.
type Counting struct {
	// Policy that the request is under; nil if that is not known.
	Policy *v1alpha1.AccessPolicy
	// Decisions on the request by which its status was written.
	Decisions []v1alpha1.AccessDecision
	// Admission is what is known of the admission policies.
	Admission admission.State
	// MayEnd says whether somebody may deny or revoke under Policy. It is asked about a no
	// of somebody who neither asked for the access nor gets it.
	MayEnd func(who *v1alpha1.Identity) (bool, error)
}

// Uncounted says why one of the decisions on a request changes nothing, as status is; empty if
// it counts, or may count yet.
func (c Counting) Uncounted(req v1alpha1.Request, d *v1alpha1.AccessDecision) (why string, err error) {
	status, who := req.RequestStatus(), d.Spec.Reviewer
	counted := slices.ContainsFunc(status.Approvals, func(a v1alpha1.Approval) bool { return a.Decision == d.Name })
	switch {
	case counted || status.State == "" || who == nil:
		return "", nil
	case status.State.Final() && d.CreationTimestamp.After(endOf(req)):
		return fmt.Sprintf("the request was over at %s (%s)", text.Time(endOf(req)), status.State), nil
	case c.Policy == nil, status.State.Final() && d.Spec.Verdict != v1alpha1.VerdictApprove:
		return "", nil // a no may be what ended it
	case d.Spec.Verdict == v1alpha1.VerdictApprove:
		if c.Admission.InDoubt(d.CreationTimestamp) {
			return "", nil
		}
		return c.approval(req, d), nil
	default:
		return c.no(req, who)
	}
}

// no is why a denial or revocation does not count.
func (c Counting) no(req v1alpha1.Request, who *v1alpha1.Identity) (why string, err error) {
	if policy.Involved(req, who) {
		return "", nil
	}
	if may, err := c.MayEnd(who); may || err != nil {
		return "", err
	}
	spec := &c.Policy.Spec
	if len(spec.Approvals) > 0 {
		return fmt.Sprintf("%s is neither an approver nor a revoker of policy %s%s", withGroups(who), c.Policy.Name,
			policy.NearMiss(who, slices.Concat(policy.Approvers(spec.Approvals), spec.Revokers))), nil
	}
	return fmt.Sprintf("%s is no revoker of policy %s and may not delete the request; the policy asks for no approval, so that nobody else can end it%s",
		withGroups(who), c.Policy.Name, policy.NearMiss(who, spec.Revokers)), nil
}

// withGroups names somebody, and his groups that might count.
func withGroups(who *v1alpha1.Identity) string {
	if groups := policy.GroupsOf(who); groups != "" {
		return fmt.Sprintf("%q (groups: %s)", who.Username, groups)
	}
	return fmt.Sprintf("%q", who.Username)
}

// approval is why one does not count: by who gave it, by when, and by what is needed still.
func (c Counting) approval(req v1alpha1.Request, d *v1alpha1.AccessDecision) string {
	for _, why := range []string{c.barred(req, d.Spec.Reviewer), c.untimely(req, d), c.sameVoter(req, d)} {
		if why != "" {
			return why
		}
	}
	switch req.RequestStatus().State { //nolint:exhaustive // in the others approvals are not counted
	case v1alpha1.StateActive:
		return "access was given without it"
	case v1alpha1.StatePending, v1alpha1.StateScheduled:
		if c.mayCount(req, d) {
			return ""
		}
		return fmt.Sprintf("nobody is needed any more out of those for whom %q stands", d.Spec.Reviewer.Username)
	default:
		return ""
	}
}

// mayCount says whether an approval counts that status does not have yet: it is written a moment
// later, and not while the operator is away.
func (c Counting) mayCount(req v1alpha1.Request, d *v1alpha1.AccessDecision) bool {
	under := policy.CountedAs(&c.Policy.Spec)
	tally := under.Count(req, provenDecisions(c.Admission, c.Decisions), approveBy(req, under))
	return slices.ContainsFunc(tally.Counted, func(a v1alpha1.Approval) bool { return a.Decision == d.Name })
}

// barred is why no approval of somebody counts.
func (c Counting) barred(req v1alpha1.Request, who *v1alpha1.Identity) string {
	spec, name := &c.Policy.Spec, c.Policy.Name
	switch {
	case len(spec.Approvals) == 0:
		return fmt.Sprintf("policy %s asks for no approval", name)
	case !policy.Reviews(spec.Approvals, who):
		return fmt.Sprintf("%s is not among the approvers of policy %s%s", withGroups(who), name, policy.NearMiss(who, policy.Approvers(spec.Approvals)))
	case !spec.AllowSelfApproval && policy.Involved(req, who):
		return fmt.Sprintf("%q asked for the access or gets it, and policy %s does not say allowSelfApproval", who.Username, name)
	case !spec.AllowSelfApproval && policy.CountedAs(spec).Asked(req, who):
		return fmt.Sprintf("%q has the UID of who asked (%q) and is taken for the same person; policy %s does not say uidIsShared",
			who.Username, req.RequestSpec().Requester.Username, name)
	default:
		return ""
	}
}

// untimely is why an approval of that time does not count.
func (c Counting) untimely(req v1alpha1.Request, d *v1alpha1.AccessDecision) string {
	until := approveBy(req, policy.CountedAs(&c.Policy.Spec))
	switch {
	case d.CreationTimestamp.Time.Before(req.GetCreationTimestamp().Time):
		return "it was made before the request"
	case !d.CreationTimestamp.Time.Before(until):
		return fmt.Sprintf("it came too late: policy %s wants approvals by %s", c.Policy.Name, text.Time(until))
	case c.Admission.Gap(d.CreationTimestamp) != nil:
		return "it was made when it was not certain that the admission policies were in force, so nothing proves who made it"
	default:
		return ""
	}
}

// sameVoter says that the same person approved already, perhaps under another name.
func (c Counting) sameVoter(req v1alpha1.Request, d *v1alpha1.AccessDecision) string {
	who := d.Spec.Reviewer
	for _, a := range req.RequestStatus().Approvals {
		if a.Reviewer == who.Username {
			return fmt.Sprintf("%q approved already, by decision %s", who.Username, a.Decision)
		}
		i := slices.IndexFunc(c.Decisions, func(other v1alpha1.AccessDecision) bool { return other.Name == a.Decision })
		if i < 0 || c.Policy.Spec.UIDIsShared || who.UID == "" {
			continue
		}
		if by := c.Decisions[i].Spec.Reviewer; by != nil && by.UID == who.UID {
			return fmt.Sprintf("%q has the UID of %q, is taken for the same person, and approved already; policy %s does not say uidIsShared",
				who.Username, by.Username, c.Policy.Name)
		}
	}
	return ""
}

// UncountedNote is one line that tells of a decision and why it changes nothing.
func UncountedNote(d *v1alpha1.AccessDecision, why string) string {
	by := ""
	if d.Spec.Reviewer != nil {
		by = fmt.Sprintf(" by %q", d.Spec.Reviewer.Username)
	}
	return text.Printable(strings.ToLower(string(d.Spec.Verdict))+by+" does not count: "+why, "")
}
