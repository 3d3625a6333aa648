// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// unmet says of the approvals of a policy that they can never be met, or not for some who ask.
func unmet(p *v1alpha1.AccessPolicy) (out []string) {
	d := CountedAs(&p.Spec)
	if why := d.NeverMet(""); why != "" {
		return []string{why}
	}
	for _, s := range p.Spec.Requesters {
		if s.Kind == v1alpha1.GroupKind {
			continue
		}
		if why := d.NeverMet(Account(s)); why != "" {
			out = append(out, why)
		}
	}
	return out
}

// NeverMet says why what a requester asks can never have the approvals of a decision, even when
// all who are named approve; empty if it can. Without a requester it is whoever asks. A rule that
// names a group may name enough people: who is in it is not known here.
func (d Decision) NeverMet(requester string) string {
	if few := fewNamed(d.Approvals, ""); few != "" {
		return "can never be met: " + few
	}
	if requester == "" || d.AllowSelfApproval {
		return ""
	}
	if few := fewNamed(d.Approvals, requester); few != "" {
		return "can never be met for what " + quote(requester) + " asks, who does not count: " + few
	}
	return ""
}

// fewNamed are the fewest rules that together ask for more people than they name besides one;
// empty if there are none. A person has one vote, for one rule: by Hall's theorem all rules can
// be met if there are enough people for each set of them.
func fewNamed(all []v1alpha1.ApprovalRule, besides string) string {
	rules := all[:min(len(all), maxRules)]
	named, groups := namedIn(rules, besides)
	fewest := uint(0)
	for some := uint(1); some < 1<<len(rules); some++ {
		fewer := fewest == 0 || bits.OnesCount(some) < bits.OnesCount(fewest)
		if fewer && some&groups == 0 && peopleWith(some, named) < votesFor(some, rules) {
			fewest = some
		}
	}
	if fewest == 0 {
		return ""
	}
	return fewText(rules, fewest, named)
}

// fewText is how many people some of the rules ask for, which are given as bits, and out of whom.
func fewText(rules []v1alpha1.ApprovalRule, some uint, named map[string]uint) string {
	var fields, who []string
	for i, rule := range rules {
		if some&(1<<i) == 0 {
			continue
		}
		fields = append(fields, fmt.Sprintf("approvals[%d]", i))
		for _, s := range rule.From {
			if said := subjectText(s); named[Account(s)] != 0 && !slices.Contains(who, said) {
				who = append(who, said)
			}
		}
	}
	if len(who) == 0 {
		who = []string{"nobody"}
	}
	return fmt.Sprintf("%d must approve by %s, out of %s", votesFor(some, rules), strings.Join(fields, " and "), list(who))
}

// votesFor is how many people some of the rules ask for.
func votesFor(some uint, rules []v1alpha1.ApprovalRule) (people int64) {
	for i, rule := range rules {
		if some&(1<<i) != 0 {
			people += int64(max(rule.Count, 1)) // as compileApprovals does
		}
	}
	return people
}

// peopleWith is how many people have one of some bits.
func peopleWith(some uint, named map[string]uint) (people int64) {
	for _, by := range named {
		if by&some != 0 {
			people++
		}
	}
	return people
}

// namedIn are the rules that name each account, as bits, and those that name a group.
func namedIn(rules []v1alpha1.ApprovalRule, besides string) (named map[string]uint, groups uint) {
	named = map[string]uint{}
	for i, rule := range rules {
		for _, s := range rule.From {
			switch {
			case malformed(s) != "":
			case s.Kind == v1alpha1.GroupKind:
				groups |= 1 << i
			case Account(s) != besides:
				named[Account(s)] |= 1 << i
			}
		}
	}
	return named, groups
}
