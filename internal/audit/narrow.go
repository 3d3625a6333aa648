// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/component-helpers/auth/rbac/validation"

	"github.com/lapse-dev/lapse/internal/policy"
)

// use is what a call asked of the authorizer.
type use struct {
	verb, group string
	// resource with its subresource, such as deployments/scale; empty if path is not.
	resource, name string
	path           string
}

// rule allows the use, and nothing else; of any name, if the use has none.
func (u use) rule() rbacv1.PolicyRule {
	if u.path != "" {
		return rbacv1.PolicyRule{Verbs: []string{u.verb}, NonResourceURLs: []string{u.path}}
	}
	out := rbacv1.PolicyRule{Verbs: []string{u.verb}, APIGroups: []string{u.group}, Resources: []string{u.resource}}
	if u.name != "" {
		out.ResourceNames = []string{u.name}
	}
	return out
}

// allow says whether a rule with one word of each sort is within others, by Kubernetes' own
// comparison, which knows what * stands for.
func allow(rules []rbacv1.PolicyRule, one rbacv1.PolicyRule) bool {
	within, _ := validation.Covers(rules, []rbacv1.PolicyRule{one})
	return within
}

const (
	createVerb  = "create"
	impersonate = "impersonate"
	// accounts are what a RoleBinding lets people impersonate, by names that begin so.
	accounts       = "serviceaccounts"
	accountsPrefix = "system:serviceaccount:"
)

// uses are what a call asked for. The first is what its Event says. The others are no call of
// their own, and may be allowed by something else.
func (c *Call) uses() []use {
	u := use{verb: c.Verb, name: c.Name}
	if strings.HasPrefix(c.Resource, "/") {
		return []use{{verb: c.Verb, path: c.Resource}}
	}
	whole, sub, _ := strings.Cut(c.Resource, "/")
	u.resource, u.group, _ = strings.Cut(whole, ".")
	if sub != "" {
		u.resource += "/" + sub
	}
	if c.Verb == createVerb && sub == "" {
		u.name = "" // kube-apiserver takes it from the body, once the call is allowed
	}
	out := []use{u}
	// Who applies what is not there has to be allowed that, too.
	made := c.Code == http.StatusCreated && (c.Verb == "patch" || c.Verb == "update")
	if made || c.Verb == "get" && u.group == "" && slices.Contains(intoPods, u.resource) {
		u.verb = createVerb
		out = append(out, u)
	}
	return out
}

// intoPods are the calls that open a session. Over WebSocket they are logged as get, and from
// Kubernetes 1.35 on kube-apiserver asks for create besides.
var intoPods = []string{"pods/exec", "pods/attach", "pods/portforward"}

// impersonated is the use by which the holder of a grant took the name of an account in its
// namespace. The Event of a call that he made so has another reason.
func (s *History) impersonated(c *Call) (use, bool) {
	account, is := strings.CutPrefix(c.User, accountsPrefix+s.Request.Namespace+":")
	if !is || c.Impersonator == "" || c.User == holder(s.Request.Subject) {
		return use{}, false
	}
	return use{verb: impersonate, resource: accounts, name: account}, true
}

// own says whether a call was allowed to a holder of the grant, and not to who he acted as. Of
// a group that shows by the name of an account alone.
func (s *History) own(c *Call) bool {
	if isGroup(s.Request.Subject) {
		return c.Impersonator == "" || !strings.HasPrefix(c.User, accountsPrefix)
	}
	return c.User == holder(s.Request.Subject)
}

// auditedVerbs are those of calls, and impersonate, which shows in them. Others, like bind and
// escalate, are asked about while a call is served, and no log has them.
var auditedVerbs = []string{
	"get", "list", "watch", createVerb, "update", "patch", "delete", "deletecollection", impersonate, rbacv1.VerbAll,
}

// untold is the part of rules of which no log tells whether it was used.
func untold(rules []rbacv1.PolicyRule) (out []rbacv1.PolicyRule) {
	for _, rule := range rules {
		if len(rule.NonResourceURLs) > 0 {
			continue // their verbs are methods of HTTP
		}
		rule.Verbs = slices.DeleteFunc(slices.Clone(rule.Verbs), func(v string) bool { return slices.Contains(auditedVerbs, v) })
		if len(rule.Verbs) > 0 {
			out = append(out, rule)
		}
	}
	return out
}

// allowed is the use as rules allow it: without its name, if they ask for none; nothing, if they
// do not allow it.
func allowed(rules []rbacv1.PolicyRule, u use) use {
	ofAny := u
	ofAny.name = ""
	switch {
	case allow(rules, ofAny.rule()):
		return ofAny
	case allow(rules, u.rule()):
		return u
	}
	return use{}
}

// narrowed are rules that allow each use that the old ones allow, nothing that these do not,
// and what no log tells of. A use of what may have any name is not held to the name it had.
func narrowed(old []rbacv1.PolicyRule, uses []use) []rbacv1.PolicyRule {
	atoms := make([]rbacv1.PolicyRule, 0, len(uses))
	for _, u := range uses {
		if as := allowed(old, u); as != (use{}) {
			atoms = append(atoms, as.rule())
		}
	}
	return policy.Canonical(slices.Concat(fewer(atoms), untold(old)))
}

// fewer rules that are the same: names of one verb on one thing, then verbs on it, then
// things with all of that in common.
func fewer(atoms []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	anyName := slices.DeleteFunc(slices.Clone(atoms), func(r rbacv1.PolicyRule) bool { return len(r.ResourceNames) > 0 })
	named := slices.DeleteFunc(slices.Clone(atoms), func(r rbacv1.PolicyRule) bool {
		of := len(r.ResourceNames)
		r.ResourceNames = nil
		return of == 0 || allow(anyName, r)
	})
	rules := slices.Concat(anyName, named)
	const verbs, resources, names, paths = 0, 2, 3, 4
	for _, sort := range []int{names, verbs, resources, paths} {
		rules = merge(rules, wordsOf[sort])
	}
	return rules
}

// merge rules that differ in words of one sort alone. One without words of that sort stays: it
// may mean any.
func merge(rules []rbacv1.PolicyRule, words func(*rbacv1.PolicyRule) *[]string) (out []rbacv1.PolicyRule) {
	at := map[string]int{}
	for _, rule := range policy.Canonical(rules) {
		rest := rule
		*words(&rest) = nil
		key := fmt.Sprintf("%q", [][]string{rest.APIGroups, rest.Resources, rest.ResourceNames, rest.NonResourceURLs, rest.Verbs})
		i, known := at[key]
		switch {
		case len(*words(&rule)) == 0:
			out = append(out, rule)
		case known:
			*words(&out[i]) = append(*words(&out[i]), *words(&rule)...)
		default:
			at[key] = len(out)
			out = append(out, rule)
		}
	}
	return out
}

// wordsOf a rule, by their sort.
var wordsOf = []func(*rbacv1.PolicyRule) *[]string{
	func(r *rbacv1.PolicyRule) *[]string { return &r.Verbs },
	func(r *rbacv1.PolicyRule) *[]string { return &r.APIGroups },
	func(r *rbacv1.PolicyRule) *[]string { return &r.Resources },
	func(r *rbacv1.PolicyRule) *[]string { return &r.ResourceNames },
	func(r *rbacv1.PolicyRule) *[]string { return &r.NonResourceURLs },
}

// RuleUse is what calls used of a rule.
type RuleUse struct {
	Rule rbacv1.PolicyRule `json:"rule"`
	// Calls that it allows.
	Calls int `json:"calls"`
	// Unused are its words that none of them needed: all, if there were none.
	Unused rbacv1.PolicyRule `json:"unused"`
}

// usesOf are what calls used of each rule, from how many calls there were of each use.
func usesOf(rules []rbacv1.PolicyRule, uses map[use]int) []RuleUse {
	out := make([]RuleUse, 0, len(rules))
	for _, rule := range policy.Canonical(rules) {
		ruled := RuleUse{Rule: rule}
		var by []rbacv1.PolicyRule
		for u, calls := range uses {
			if allow([]rbacv1.PolicyRule{rule}, u.rule()) {
				ruled.Calls += calls
				by = append(by, u.rule())
			}
		}
		for _, words := range wordsOf {
			for _, word := range *words(&rule) {
				one := rule
				*words(&one) = []string{word}
				if !slices.ContainsFunc(by, func(u rbacv1.PolicyRule) bool { return allow([]rbacv1.PolicyRule{one}, u) }) {
					*words(&ruled.Unused) = append(*words(&ruled.Unused), word)
				}
			}
		}
		out = append(out, ruled)
	}
	return out
}
