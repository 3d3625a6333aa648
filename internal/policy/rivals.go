// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/text"
)

const (
	// maxRivals is how many policies one is compared with. Whoever may write one may write many.
	maxRivals = 64
	// maxPassed is how many of them are told.
	maxPassed = 8
	// maxTerm bounds, in bytes, what is quoted of a condition.
	maxTerm = 128
)

// Rivals are the other policies that offer a role of p in namespaces that may be the same to
// somebody who may be the same: policies only ever add, so that what one of them does not ask
// for need not be met. They are in the order of their names. What is cheap is compared first.
func Rivals(p *v1alpha1.AccessPolicy, all []v1alpha1.AccessPolicy) (rivals []*v1alpha1.AccessPolicy) {
	for i := range all {
		other := &all[i]
		if other.Name != p.Name && other.DeletionTimestamp == nil &&
			slices.ContainsFunc(p.Spec.Roles, func(ref v1alpha1.RoleRef) bool { return slices.Contains(other.Spec.Roles, ref) }) &&
			mayMeet(p.Spec.Namespaces, other.Spec.Namespaces) && mayShare(p.Spec.Requesters, other.Spec.Requesters) && !neverAllows(other) {
			rivals = append(rivals, other)
		}
	}
	slices.SortFunc(rivals, func(a, b *v1alpha1.AccessPolicy) int { return strings.Compare(a.Name, b.Name) })
	return rivals
}

// neverAllows says whether a policy allows nothing, as far as it shows at once: it is switched off
// by the condition false, or names nobody who can ask. Its expressions are not compiled for that,
// nor its roles looked up.
func neverAllows(p *v1alpha1.AccessPolicy) bool {
	return slices.ContainsFunc(p.Spec.Conditions, func(c v1alpha1.PolicyCondition) bool { return strings.TrimSpace(c.Expression) == "false" }) ||
		!slices.ContainsFunc(p.Spec.Requesters, func(s v1alpha1.Subject) bool { return malformed(s) == "" || isWide(s) })
}

// neverMet says whether the approvals of a policy can never be met. That takes longer to find out:
// it is asked only of policies that are told.
func neverMet(p *v1alpha1.AccessPolicy) bool { return CountedAs(&p.Spec).NeverMet("") != "" }

// mayShare says whether somebody may be among the requesters of both. Who is in a group is not
// known.
func mayShare(a, b []v1alpha1.Subject) bool {
	isGroup := func(s v1alpha1.Subject) bool { return s.Kind == v1alpha1.GroupKind }
	if slices.ContainsFunc(a, isGroup) || slices.ContainsFunc(b, isGroup) {
		return len(a) > 0 && len(b) > 0
	}
	return slices.ContainsFunc(a, func(s v1alpha1.Subject) bool { return slices.Contains(b, s) })
}

// Passed says by which of all policies somebody gets past p: who, for which roles, and past
// which conditions, approvals and duration. At most 8 of them are told, and how many more
// there are.
func Passed(p *v1alpha1.AccessPolicy, all []v1alpha1.AccessPolicy) []string {
	return passedBy(p, Rivals(p, all))
}

func passedBy(p *v1alpha1.AccessPolicy, rivals []*v1alpha1.AccessPolicy) []string {
	return tellSome(rivals, func(rival *v1alpha1.AccessPolicy) string {
		if terms := lacks(rival, p); terms != "" {
			return fmt.Sprintf("policy %s lets %s past this one for %s: %s", quote(rival.Name), inBoth(p, rival), sharedRoles(p, rival), terms)
		}
		return ""
	}, "let somebody past this one")
}

// passing says past which of the rivals of p somebody gets by p.
func passing(p *v1alpha1.AccessPolicy, rivals []*v1alpha1.AccessPolicy) []string {
	if neverAllows(p) || neverMet(p) {
		return nil
	}
	return tellSome(rivals, func(rival *v1alpha1.AccessPolicy) string {
		if terms := lacks(p, rival); terms != "" {
			return fmt.Sprintf("this policy lets %s past policy %s for %s: %s", inBoth(p, rival), quote(rival.Name), sharedRoles(p, rival), terms)
		}
		return ""
	}, "are got past by this one")
}

func tellSome(rivals []*v1alpha1.AccessPolicy, tell func(*v1alpha1.AccessPolicy) string, what string) (out []string) {
	more, unread := 0, max(len(rivals)-maxRivals, 0)
	for _, rival := range rivals[:len(rivals)-unread] {
		line := tell(rival)
		switch {
		case line == "" || neverMet(rival):
		case len(out) < maxPassed:
			out = append(out, text.Cut(line, maxProblem))
		default:
			more++
		}
	}
	if more > 0 {
		out = append(out, fmt.Sprintf("%d more policies %s", more, what))
	}
	if unread > 0 {
		out = append(out, fmt.Sprintf("%d more policies offer the same roles in namespaces that may be the same, and were not compared", unread))
	}
	return out
}

// inBoth are those who may ask by both policies, as far as they can be named.
func inBoth(a, b *v1alpha1.AccessPolicy) string {
	var shared []string
	groups := false
	for _, s := range a.Spec.Requesters {
		groups = groups || s.Kind == v1alpha1.GroupKind
		if slices.Contains(b.Spec.Requesters, s) {
			shared = append(shared, subjectText(s))
		}
	}
	for _, s := range b.Spec.Requesters {
		groups = groups || s.Kind == v1alpha1.GroupKind
	}
	switch {
	case len(shared) == 0:
		return "whoever is in both (as a requester)"
	case groups:
		return list(shared) + " and whoever else is in both (as a requester)"
	default:
		return list(shared)
	}
}

func sharedRoles(a, b *v1alpha1.AccessPolicy) string {
	var shared []string
	for _, ref := range a.Spec.Roles {
		if slices.Contains(b.Spec.Roles, ref) {
			shared = append(shared, roleText(ref))
		}
	}
	return list(shared)
}

// lacks is what another policy asks for and rival does not; empty if there is nothing.
func lacks(rival, p *v1alpha1.AccessPolicy) string {
	var terms []string
	if t := approvalsUnasked(&p.Spec, &rival.Spec); t != "" {
		terms = append(terms, t)
	}
	if t := conditionsUnasked(p.Spec.Conditions, rival.Spec.Conditions); len(t) > 0 {
		terms = append(terms, "without "+list(t))
	}
	if longer := rival.Spec.MaxDuration.Duration; longer > p.Spec.MaxDuration.Duration {
		terms = append(terms, "for "+text.Duration(longer)+" instead of "+text.Duration(p.Spec.MaxDuration.Duration))
	}
	if len(terms) == 0 {
		return ""
	}
	said := strings.Join(terms, ", ")
	if len(conditionsUnasked(rival.Spec.Conditions, p.Spec.Conditions)) > 0 {
		said += " (on conditions of its own)"
	}
	return said
}

func conditionsUnasked(conditions, others []v1alpha1.PolicyCondition) (out []string) {
	asked := map[string]bool{"true": true} // which asks for nothing
	for _, c := range others {
		asked[spaceless(c.Expression)] = true
	}
	for i, c := range conditions {
		if asked[spaceless(c.Expression)] {
			continue
		}
		said := c.Message
		if said == "" {
			said = c.Expression
		}
		out = append(out, fmt.Sprintf("conditions[%d] (%s)", i, quote(text.Cut(text.Line(said), maxTerm))))
	}
	return out
}

// spaceless is the same text for expressions that differ in how they are laid out.
func spaceless(expression string) string { return strings.Join(strings.Fields(expression), " ") }
