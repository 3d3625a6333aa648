// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// maxRules is how many rules for approvals a policy has; see the schema.
const maxRules = 8

// Unasked is which approvals another decision asks for and this one does not; empty if there are
// none, as for policies.
func (d Decision) Unasked(other Decision) string { return approvalsUnasked(other.terms(), d.terms()) }

// terms are what the policy of a decision says of approvals.
func (d Decision) terms() *v1alpha1.AccessPolicySpec {
	return &v1alpha1.AccessPolicySpec{Approvals: d.Approvals, AllowSelfApproval: d.AllowSelfApproval, UIDIsShared: d.UIDIsShared}
}

// approvalsUnasked is which approvals of a policy another one does not ask for; empty if it
// asks for all of them, each by the same people or by some of them.
func approvalsUnasked(p, rival *v1alpha1.AccessPolicySpec) string {
	rules, others := p.Approvals[:min(len(p.Approvals), maxRules)], rival.Approvals[:min(len(rival.Approvals), maxRules)]
	switch {
	case len(rules) == 0:
		return ""
	case len(others) == 0:
		return "without an approval"
	}
	if missing := tooFew(rules, others); missing != 0 {
		var fields []string
		for i, rule := range rules {
			if missing&(1<<i) != 0 {
				fields = append(fields, fmt.Sprintf("approvals[%d] (%d of %s)", i, rule.Count, list(textsOf(rule.From, subjectText))))
			}
		}
		return "with other approvals than " + strings.Join(fields, " and ")
	}
	switch {
	case rival.AllowSelfApproval && !p.AllowSelfApproval:
		return "with an approval of his own"
	case rival.UIDIsShared && !p.UIDIsShared:
		return "with an approval by a name that has the same UID as his"
	}
	return ""
}

// tooFew are rules, as bits, for which others ask for too few people; 0 if there are none. A
// person whom one of the others asks for stands for each rule from which all that he may be
// are: by Hall's theorem all rules are met if there are enough people for each set of them.
func tooFew(rules, others []v1alpha1.ApprovalRule) (fewest uint) {
	serves := make([]uint, len(others))
	for i, other := range others {
		for j, rule := range rules {
			if !slices.ContainsFunc(other.From, func(s v1alpha1.Subject) bool { return !slices.Contains(rule.From, s) }) {
				serves[i] |= 1 << j
			}
		}
	}
	of := make([]uint, len(rules))
	for j := range rules {
		of[j] = 1 << j
	}
	for some := uint(1); some < 1<<len(rules); some++ {
		short := peopleFor(some, others, serves) < peopleFor(some, rules, of)
		if short && (fewest == 0 || bits.OnesCount(some) < bits.OnesCount(fewest)) {
			fewest = some
		}
	}
	return fewest
}

// peopleFor is how many people rules ask for that have one of some bits.
func peopleFor(some uint, rules []v1alpha1.ApprovalRule, have []uint) (people int64) {
	for i, rule := range rules {
		if have[i]&some != 0 {
			people += int64(rule.Count)
		}
	}
	return people
}

// maxValues is how many requirements of two selectors are compared; of longer ones it is taken
// that they may select the same namespace.
const maxValues = 256

// mayMeet says whether a namespace may be of both. Which labels there are is not known.
func mayMeet(a, b v1alpha1.NamespaceMatch) bool {
	return slices.ContainsFunc(a.Names, func(name string) bool { return slices.Contains(b.Names, name) }) ||
		mayHave(a.Selector, b.Names) || mayHave(b.Selector, a.Names) ||
		mayMatch(a.Selector) && mayMatch(b.Selector) && mayMatch(a.Selector, b.Selector)
}

// mayHave says whether a namespace of one of the names may be labelled as a selector wants it.
func mayHave(s *metav1.LabelSelector, names []string) bool {
	if len(names) == 0 {
		return false
	}
	return mayMatch(s, &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpIn, Values: names},
	}})
}

// wish is what selectors want of the value of a label.
type wish struct {
	only        sets.Set[string] // nil is any
	not         sets.Set[string]
	there, gone bool
}

// mayMatch says whether one and the same namespace may be labelled as all selectors want it.
// One that wants nothing selects nothing.
func mayMatch(all ...*metav1.LabelSelector) bool {
	wishes, values := map[string]*wish{}, 0
	of := func(key string) *wish {
		if wishes[key] == nil {
			wishes[key] = &wish{not: sets.New[string]()}
		}
		return wishes[key]
	}
	for _, s := range all {
		if s == nil || len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
			return false
		}
		if values += len(s.MatchLabels); values > 2*maxValues {
			return true
		}
		for key, value := range s.MatchLabels {
			of(key).want(metav1.LabelSelectorOpIn, value)
		}
		for _, r := range s.MatchExpressions {
			if values += 1 + len(r.Values); values > 2*maxValues {
				return true
			}
			of(r.Key).want(r.Operator, r.Values...)
		}
	}
	for _, w := range wishes {
		if !w.possible() {
			return false
		}
	}
	return true
}

func (w *wish) want(operator metav1.LabelSelectorOperator, values ...string) {
	switch operator {
	case metav1.LabelSelectorOpIn:
		if w.there = true; w.only == nil {
			w.only = sets.New(values...)
		} else {
			w.only = w.only.Intersection(sets.New(values...))
		}
	case metav1.LabelSelectorOpNotIn:
		w.not.Insert(values...)
	case metav1.LabelSelectorOpExists:
		w.there = true
	case metav1.LabelSelectorOpDoesNotExist:
		w.gone = true
	}
}

func (w *wish) possible() bool {
	if w.gone {
		return !w.there
	}
	return w.only == nil || w.only.Difference(w.not).Len() > 0
}
