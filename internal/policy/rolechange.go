// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/component-helpers/auth/rbac/validation"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/text"
)

const (
	// maxNewRules is how many new rules a message names.
	maxNewRules = 16
	// maxAtoms bounds what new rules are broken down into, one for each verb on each
	// resource of each name, and maxComparisons the words that all of these are held
	// against: whoever writes a role could make them millions.
	maxAtoms       = 5_000
	maxComparisons = 4_000_000
)

// RoleChange is how a role differs from what was granted.
type RoleChange struct {
	// Reason is one of v1alpha1.ReasonRoleGrew, ReasonRoleReplaced and
	// ReasonRoleDeleted. Empty when the role is the same and allows nothing new.
	Reason string
	// Message names what is new, the most dangerous first.
	Message string
	// Revokes says that access ends by it.
	Revokes bool
}

// RoleChangeRevokes says whether access ends when its role changes. What a newer version may
// say instead of Report is taken for the stricter.
func RoleChangeRevokes(action v1alpha1.RoleChangeAction) bool {
	return action != "" && action != v1alpha1.RoleChangeReport
}

// CompareRole holds a role, as it is now, against what it was when access was given.
// A role that allows less, or the same in other words, did not change. When it cannot
// be told what is new, it counts as more.
func CompareRole(ref v1alpha1.RoleRef, granted *v1alpha1.GrantedRole, now Role, found bool) RoleChange {
	name := roleText(ref)
	switch {
	case !found:
		return RoleChange{Reason: v1alpha1.ReasonRoleDeleted, Message: name + " was deleted: access gives nothing until there is one of that name, and then what that allows"}
	case now.UID != granted.UID:
		news := "it allows nothing that it did not allow when access was given"
		if more := newRules(granted, now); more != "" {
			news = more
		}
		return RoleChange{Reason: v1alpha1.ReasonRoleReplaced, Message: name + " was deleted and created again: " + news}
	}
	if more := newRules(granted, now); more != "" {
		return RoleChange{Reason: v1alpha1.ReasonRoleGrew, Message: name + " changed: " + more}
	}
	return RoleChange{}
}

// newRules says what a role allows that it did not allow; empty if there is nothing.
func newRules(granted *v1alpha1.GrantedRole, now Role) string {
	if now.Digest() == granted.Digest {
		return ""
	}
	if len(granted.Rules) == 0 {
		return "what is new in it cannot be named, since its rules were too large to be kept; it counts as more"
	}
	old, err := GrantedRules(granted)
	if err != nil {
		return "what is new in it cannot be named (" + text.Cut(text.Line(err.Error()), maxQuoted) + "); it counts as more"
	}
	// What stands there word for word needs no comparing.
	fresh := slices.DeleteFunc(Canonical(now.Rules), func(rule rbacv1.PolicyRule) bool {
		return slices.ContainsFunc(old, func(known rbacv1.PolicyRule) bool { return compareRules(rule, known) == 0 })
	})
	more, ok := Beyond(old, fresh)
	switch {
	case !ok:
		return "what is new in it cannot be named, since it is too large to be compared; it counts as more"
	case len(more) > 0:
		return "it allows more than when access was given: " + newRulesText(more)
	}
	return ""
}

// Beyond is what rules allow and known ones do not, in rules of one word each: one verb on one
// resource of one name. Not ok is what would take too long to be compared.
func Beyond(known, rules []rbacv1.PolicyRule) (more []rbacv1.PolicyRule, ok bool) {
	if !affordable(known, rules) {
		return nil, false
	}
	_, more = validation.Covers(known, rules)
	return more, true
}

// affordable says whether holding rules against each other costs little enough.
func affordable(old, fresh []rbacv1.PolicyRule) bool {
	atoms, words := 0, 0
	for _, rule := range fresh {
		each := len(rule.APIGroups)
		for _, n := range [...]int{len(rule.Resources), len(rule.Verbs), max(len(rule.ResourceNames), 1)} {
			each = min(each, maxAtoms+1) * n // no product gets out of range
		}
		atoms = min(atoms, maxAtoms) + each + min(len(rule.NonResourceURLs), maxAtoms+1)*len(rule.Verbs)
	}
	for _, rule := range old {
		words += len(rule.APIGroups) + len(rule.Resources) + len(rule.Verbs) + len(rule.ResourceNames) + len(rule.NonResourceURLs)
	}
	return atoms <= maxAtoms && atoms*words <= maxComparisons
}

// newRulesText names rules of one word each, the verbs on one thing together: first
// what is dangerous, then what is a risk, then the rest.
func newRulesText(atoms []rbacv1.PolicyRule) string {
	byTarget := map[string]*rbacv1.PolicyRule{}
	for _, atom := range atoms {
		target := targetText(atom)
		if rule, known := byTarget[target]; known {
			rule.Verbs = append(rule.Verbs, atom.Verbs...)
			continue
		}
		byTarget[target] = atom.DeepCopy()
	}
	type item struct {
		weight int
		text   string
	}
	items := make([]item, 0, len(byTarget))
	for target, rule := range byTarget {
		slices.Sort(rule.Verbs)
		rule.Verbs = slices.Compact(rule.Verbs)
		items = append(items, item{weightOf(*rule), list(textsOf(rule.Verbs, short)) + " on " + target})
	}
	slices.SortFunc(items, func(a, b item) int { return cmp.Or(cmp.Compare(a.weight, b.weight), cmp.Compare(a.text, b.text)) })
	texts := make([]string, 0, maxNewRules)
	for _, item := range items[:min(len(items), maxNewRules)] {
		texts = append(texts, item.text)
	}
	text := strings.Join(texts, "; ")
	if rest := len(items) - len(texts); rest > 0 {
		text += fmt.Sprintf("; and %d more", rest)
	}
	return text
}

// weightOf orders rules: 0 is dangerous, 1 a risk, 2 neither.
func weightOf(rule rbacv1.PolicyRule) int {
	switch {
	case len(dangersOf(rule)) > 0:
		return 0
	case len(Risks(v1alpha1.RoleRef{}, []rbacv1.PolicyRule{rule})) > 0:
		return 1
	default:
		return 2
	}
}

// targetText is what a rule of one word each is about, as kubectl names it: pods/exec,
// deployments.apps.
func targetText(atom rbacv1.PolicyRule) string {
	if len(atom.NonResourceURLs) > 0 {
		return short(atom.NonResourceURLs[0])
	}
	return resourceText(atom.APIGroups[0], atom.Resources[0]) + onlyText(atom.ResourceNames)
}

func resourceText(group, resource string) string {
	if group == coreGroup {
		return short(resource)
	}
	return short(resource) + "." + short(group)
}
