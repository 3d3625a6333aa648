// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/text"
)

// Unmatched are the parts of a policy that the API server takes and that match nothing, or hardly
// what is meant, each with what to write in its place. The rest of the policy holds.
func Unmatched(p *v1alpha1.AccessPolicy, limits Limits) (out []string) {
	say := func(field, problem string) {
		if problem != "" {
			out = append(out, text.Cut(field+" "+problem, maxProblem))
		}
	}
	if ns := p.Spec.Namespaces; len(ns.Names) == 0 && (ns.Selector == nil || len(ns.Selector.MatchLabels)+len(ns.Selector.MatchExpressions) == 0) {
		say("namespaces", "is empty, which matches nothing; write names, a selector, or both")
	}
	for i, name := range p.Spec.Namespaces.Names {
		say(fmt.Sprintf("namespaces.names[%d]", i), namespaceProblem(name, limits.ReservedNamespaces))
	}
	for i, ref := range p.Spec.Roles {
		say(fmt.Sprintf("roles[%d]", i), roleProblem(ref))
	}
	subjects := func(field string, all []v1alpha1.Subject) {
		for i, s := range all {
			say(fmt.Sprintf("%s[%d]", field, i), subjectProblem(s))
		}
	}
	subjects("requesters", p.Spec.Requesters)
	subjects("grantees", p.Spec.Grantees)
	for i, rule := range p.Spec.Approvals {
		subjects(fmt.Sprintf("approvals[%d].from", i), rule.From)
	}
	subjects("revokers", p.Spec.Revokers)
	for _, problem := range unmet(p) {
		say("approvals", problem)
	}
	return out
}

// roleProblem says that the name of a Role looks like a pattern. Of ClusterRoles it is known
// whether they exist.
func roleProblem(ref v1alpha1.RoleRef) string {
	if said := patternText(ref); said != "" && ref.Kind == v1alpha1.RoleKind {
		return roleText(ref) + said
	}
	return ""
}

// patternText is what to say after a role whose name looks like a pattern.
func patternText(ref v1alpha1.RoleRef) string {
	if strings.Contains(ref.Name, "*") {
		return ": a name is not a pattern; write one entry for each role"
	}
	return ""
}

// namespaceProblem says why a name is that of no namespace in which anything is granted.
func namespaceProblem(name string, reserved []string) string {
	by := reservedBy(reserved, name)
	near := strings.ToLower(strings.TrimSpace(name))
	switch {
	case strings.Contains(name, "*"):
		return quote(name) + " never matches: a name is not a pattern; select namespaces by the label kubernetes.io/metadata.name and write a condition, or by labels of yours"
	case strings.Contains(name, ","):
		return quote(name) + " never matches: it is one name; write one entry for each namespace"
	case len(validation.IsDNS1123Label(name)) > 0 && len(validation.IsDNS1123Label(near)) == 0:
		return quote(name) + " never matches: it is not the name of a namespace; " + quote(near) + " may be meant"
	case len(validation.IsDNS1123Label(name)) > 0:
		return quote(name) + " never matches: it is not the name of a namespace"
	case by != "":
		return quote(name) + " never matches: the operator reserves " + by + ", and grants nothing there"
	}
	return ""
}

// subjectProblem says why a subject is hardly who is meant. Somebody may be called just so, and is
// matched: nothing may be left out of what is allowed, or told, because of it.
func subjectProblem(s v1alpha1.Subject) string {
	trimmed := strings.TrimSpace(s.Name)
	switch {
	case strings.Contains(s.Name+s.Namespace, "*"):
		return subjectText(s) + ": a name is not a pattern; name a group that all of them are in, such as system:authenticated among requesters"
	case s.Kind == v1alpha1.ServiceAccountKind:
		return ""
	case trimmed == "":
		return subjectText(s) + " never matches: nobody has that name"
	case trimmed != s.Name:
		return subjectText(s) + ": spaces count; " + quote(trimmed) + " may be meant"
	}
	return ""
}
