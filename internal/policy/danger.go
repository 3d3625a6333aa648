// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// clusterAdmin is the ClusterRole that may do everything.
const clusterAdmin = "cluster-admin"

// impersonable are resources that stand for users and groups, in the verb
// impersonate; ServiceAccounts are a lesser risk.
var impersonable = []string{"users", "groups", "uids", "userextras"}

// Dangers are why a holder of the role could take over more than the role is for, in
// plain words and a stable order; empty when it is not dangerous. Each rule is
// judged by what it says, not by whether a RoleBinding could make use of it.
// resourceNames make nothing harmless, and are named.
func Dangers(ref v1alpha1.RoleRef, rules []rbacv1.PolicyRule) []string {
	var out []string
	if ref.Kind == v1alpha1.ClusterRoleKind && ref.Name == clusterAdmin {
		out = append(out, "it may do everything")
	}
	if strings.HasPrefix(ref.Name, systemPrefix) {
		out = append(out, "it belongs to Kubernetes itself (system:)")
	}
	for _, rule := range rules {
		for _, danger := range dangersOf(rule) {
			if !slices.Contains(out, danger) {
				out = append(out, danger)
			}
		}
	}
	return out
}

func dangersOf(rule rbacv1.PolicyRule) (out []string) {
	on := " on " + resourcesText(rule)
	if slices.Contains(rule.Verbs, rbacv1.VerbAll) {
		out = append(out, "it allows every verb (*)"+on)
	}
	for _, resource := range rule.Resources {
		// */scale is every resource, too.
		if resource == rbacv1.ResourceAll || strings.HasPrefix(resource, rbacv1.ResourceAll+"/") {
			out = append(out, "it allows "+list(textsOf(rule.Verbs, short))+" on every resource ("+short(resource)+")")
		}
	}
	for _, verb := range rule.Verbs {
		switch {
		case verb == "escalate" || verb == "bind":
			out = append(out, "it allows "+verb+on)
		case impersonates(verb, rule.Resources):
			out = append(out, "it allows "+short(verb)+on)
		}
	}
	return out
}

// impersonates says whether the verb lets somebody act as a user, group or node.
// Constrained impersonation (impersonate:user-info and others) counts, save for
// ServiceAccounts.
func impersonates(verb string, resources []string) bool {
	mode, constrained := strings.CutPrefix(verb, "impersonate:")
	if constrained {
		return mode != "serviceaccount"
	}
	return verb == "impersonate" && slices.ContainsFunc(resources, func(resource string) bool {
		base, _, _ := strings.Cut(resource, "/")
		return base == rbacv1.ResourceAll || slices.Contains(impersonable, base)
	})
}

// resourcesText names what a rule is about, and the names it is confined to.
func resourcesText(rule rbacv1.PolicyRule) string {
	what := rule.Resources
	if len(what) == 0 {
		what = rule.NonResourceURLs
	}
	return list(textsOf(what, short)) + onlyText(rule.ResourceNames)
}

// onlyText notes the names to which a rule is confined.
func onlyText(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return " (only " + list(textsOf(names, quote)) + ")"
}

// short bounds a word of a role, which anybody may have written.
func short(s string) string { return strings.Trim(quote(s), `"`) }
