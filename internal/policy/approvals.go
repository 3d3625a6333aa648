// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/text"
)

// Tally is how the approvals of a request stand.
type Tally struct {
	// Counted are the approvals that count, one for each person, in the order in
	// which they were given.
	Counted []v1alpha1.Approval
	// Missing are how many more people have to approve, and out of whom; one entry
	// for each rule that is not met.
	Missing []v1alpha1.ApprovalRule
}

// Met says whether all rules are met.
func (t Tally) Met() bool { return len(t.Missing) == 0 }

// Text is what is missing and who approved, in words.
func (t Tally) Text() string {
	missing := make([]string, 0, len(t.Missing))
	for _, rule := range t.Missing {
		missing = append(missing, fmt.Sprintf("%d of %s", rule.Count, list(textsOf(rule.From, subjectText))))
	}
	said := "waits for " + strings.Join(missing, ", and ")
	if t.Met() {
		said = "approved"
	}
	if len(t.Counted) > 0 {
		names := make([]string, 0, len(t.Counted))
		for _, a := range t.Counted {
			names = append(names, quote(a.Reviewer))
		}
		said += "; approved by " + strings.Join(names, ", ")
	}
	return text.Cut(said, maxMessage/2)
}

// Count counts the approvals of a request under the rules of a decision. A person
// has one vote, for one rule. until is the moment from which an approval comes too
// late.
func (d Decision) Count(req v1alpha1.Request, decisions []v1alpha1.AccessDecision, until time.Time) Tally {
	votes := d.votes(req, decisions, until)
	seats := seatsOf(d.Approvals)
	taken := assign(votes, seats)
	t := Tally{}
	for i, vote := range votes {
		if !slices.Contains(taken, i) {
			continue
		}
		t.Counted = append(t.Counted, v1alpha1.Approval{
			Decision: vote.Name, Reviewer: vote.Spec.Reviewer.Username, Time: vote.CreationTimestamp,
		})
	}
	for i, rule := range d.Approvals {
		missing := rule.Count
		for seat, vote := range taken {
			if seats[seat].rule == i && vote >= 0 {
				missing--
			}
		}
		if missing > 0 {
			t.Missing = append(t.Missing, v1alpha1.ApprovalRule{From: rule.From, Count: missing})
		}
	}
	return t
}

// votes are the approvals that some rule may count, one for each person, the first
// that was given.
func (d Decision) votes(req v1alpha1.Request, decisions []v1alpha1.AccessDecision, until time.Time) []v1alpha1.AccessDecision {
	var votes []v1alpha1.AccessDecision
	for i := range decisions {
		a := &decisions[i]
		inTime := a.CreationTimestamp.Time.Before(until) && !a.CreationTimestamp.Time.Before(req.GetCreationTimestamp().Time)
		if a.Spec.Verdict == v1alpha1.VerdictApprove && a.DeletionTimestamp == nil && inTime && Concerns(a, req) && d.mayApprove(req, a.Spec.Reviewer) {
			votes = append(votes, *a)
		}
	}
	slices.SortFunc(votes, func(a, b v1alpha1.AccessDecision) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	names, uids := sets.New[string](), sets.New[string]()
	return slices.DeleteFunc(votes, func(a v1alpha1.AccessDecision) bool {
		who := a.Spec.Reviewer
		again := names.Has(who.Username) || uids.Has(who.UID)
		names.Insert(who.Username)
		if who.UID != "" && !d.UIDIsShared {
			uids.Insert(who.UID)
		}
		return again
	})
}

// mayApprove says whether somebody's approval may count at all: requester and
// grantee never approve for themselves unless the policy lets them. Where it cannot be
// told who they are, nobody does.
func (d Decision) mayApprove(req v1alpha1.Request, who *v1alpha1.Identity) bool {
	_, err := GrantSubject(req.RequestSpec())
	return err == nil && Reviews(d.Approvals, who) && (d.AllowSelfApproval || !Involved(req, who) && !d.Asked(req, who))
}

// Asked says whether somebody asked for the access under this name or another one: a UID that
// is not empty is one person's, unless the policy says that it is shared. The grantee's is not
// known, if he is not the requester.
func (d Decision) Asked(req v1alpha1.Request, who *v1alpha1.Identity) bool {
	r := req.RequestSpec().Requester
	return r != nil && (r.Username == who.Username || !d.UIDIsShared && r.UID != "" && r.UID == who.UID)
}

// CountedAs is a decision that counts by what a policy says, as far as approvals go.
func CountedAs(spec *v1alpha1.AccessPolicySpec) Decision {
	return Decision{
		Approvals: spec.Approvals, ApprovalTimeout: approvalTimeoutOf(spec), AllowSelfApproval: spec.AllowSelfApproval, UIDIsShared: spec.UIDIsShared,
	}
}

func approvalTimeoutOf(spec *v1alpha1.AccessPolicySpec) time.Duration {
	if d := spec.ApprovalTimeout; d != nil && d.Duration > 0 {
		return d.Duration
	}
	return DefaultApprovalTimeout
}

// Concerns says whether a decision is on this request, and not on another one of the
// same name, and names who decided.
func Concerns(a *v1alpha1.AccessDecision, req v1alpha1.Request) bool {
	return req.GetUID() != "" && a.Spec.RequestRef.UID == req.GetUID() && a.Spec.RequestRef.Name == req.GetName() && a.Namespace == req.GetNamespace() &&
		a.Spec.Reviewer != nil && a.Spec.Reviewer.Username != ""
}

// Involved says whether somebody asked for the access or gets it, in whichever form
// of his account, or as a member of the group that gets it.
func Involved(req v1alpha1.Request, who *v1alpha1.Identity) bool {
	if r := req.RequestSpec().Requester; r != nil && r.Username == who.Username {
		return true
	}
	s, err := GrantSubject(req.RequestSpec())
	return err == nil && peopleOf([]v1alpha1.Subject{s}).include(who.Username, sets.New(who.Groups...))
}

// Reviews says whether somebody is an approver by one of the rules. A ServiceAccount
// is one only if it is named itself.
func Reviews(rules []v1alpha1.ApprovalRule, who *v1alpha1.Identity) bool {
	return slices.ContainsFunc(rules, func(rule v1alpha1.ApprovalRule) bool { return sits(rule, who) })
}

// MayEnd says whether the no of somebody counts under a policy: approvers and revokers may
// deny and revoke. A ServiceAccount may only if it is named itself.
func MayEnd(spec *v1alpha1.AccessPolicySpec, who *v1alpha1.Identity) bool {
	return Reviews(spec.Approvals, who) || among(spec.Revokers, who)
}

// MayAsk says whether somebody is among the requesters of a policy.
func MayAsk(spec *v1alpha1.AccessPolicySpec, who *v1alpha1.Identity) bool {
	return requestersOf(spec.Requesters).include(who.Username, sets.New(who.Groups...))
}

func sits(rule v1alpha1.ApprovalRule, who *v1alpha1.Identity) bool { return among(rule.From, who) }

func among(subjects []v1alpha1.Subject, who *v1alpha1.Identity) bool {
	return peopleOf(subjects).include(who.Username, groupsThatCount(who))
}

// groupsThatCount are those by which somebody may approve and revoke.
func groupsThatCount(who *v1alpha1.Identity) sets.Set[string] {
	if strings.HasPrefix(who.Username, systemPrefix) {
		return nil
	}
	return sets.New(who.Groups...)
}

// Approvers are all who are named in rules.
func Approvers(rules []v1alpha1.ApprovalRule) (all []v1alpha1.Subject) {
	for _, rule := range rules {
		all = append(all, rule.From...)
	}
	return all
}

// seat is one approval that a rule asks for.
type seat struct {
	rule int
	from v1alpha1.ApprovalRule
}

func seatsOf(rules []v1alpha1.ApprovalRule) []seat {
	var seats []seat
	for i, rule := range rules {
		for range rule.Count {
			seats = append(seats, seat{i, rule})
		}
	}
	return seats
}

// assign gives as many seats as possible to different voters, earlier voters first,
// by augmenting paths (a maximum matching of a bipartite graph). It returns the voter
// of each seat, or -1.
func assign(votes []v1alpha1.AccessDecision, seats []seat) []int {
	taken := make([]int, len(seats))
	for i := range taken {
		taken[i] = -1
	}
	var place func(vote int, tried sets.Set[int]) bool
	place = func(vote int, tried sets.Set[int]) bool {
		for i, s := range seats {
			if tried.Has(i) || !sits(s.from, votes[vote].Spec.Reviewer) {
				continue
			}
			tried.Insert(i)
			if taken[i] < 0 || place(taken[i], tried) {
				taken[i] = vote
				return true
			}
		}
		return false
	}
	for vote := range votes {
		place(vote, sets.New[int]())
	}
	return taken
}
