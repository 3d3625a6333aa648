// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	auditapi "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	lapse "github.com/lapse-dev/lapse/internal/audit"
)

// anyWord stands for all that neither the role nor the audit policy names.
const anyWord = "*"

// auditPolicy is one for kube-apiserver, as kube-apiserver judges by it.
type auditPolicy struct {
	audit.PolicyRuleEvaluator
	rules []auditapi.PolicyRule
}

func readAuditPolicy(file string) (*auditPolicy, error) {
	p, err := policy.LoadPolicyFromFile(file)
	if err != nil {
		return nil, fmt.Errorf("--audit-policy: %w", err)
	}
	return &auditPolicy{policy.NewPolicyRuleEvaluator(p), p.Rules}, nil
}

// notLogged is what a role allowed its holders and the policy does not log, such as "list
// pods". Whatever is named in neither of them is judged alike, so one word stands for it.
func notLogged(p *auditPolicy, n *lapse.Needs) []string {
	found := map[string]bool{}
	for _, who := range holdersOf(n) {
		for i := range n.Rules {
			for _, call := range p.callsOf(&n.Rules[i].Rule) {
				call.User, call.Namespace = who.user, who.namespace
				if !p.logs(call) {
					found[callOf(call)] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func (p *auditPolicy) logs(call authorizer.AttributesRecord) bool {
	judged := p.EvaluatePolicyRule(call)
	return judged.Level != auditapi.LevelNone && !slices.Contains(judged.OmitStages, auditapi.StageResponseComplete)
}

func callOf(call authorizer.AttributesRecord) string {
	out := call.Verb + " " + call.Resource
	if call.APIGroup != "" {
		out += "." + call.APIGroup
	}
	if call.Subresource != "" {
		out += "/" + call.Subresource
	}
	return out
}

// holding is where somebody held a role.
type holding struct {
	user      *user.DefaultInfo
	namespace string
}

// holdersOf are each once, with the groups that are known of them.
func holdersOf(n *lapse.Needs) []holding {
	var out []holding
	known := map[string]bool{}
	for _, s := range n.Histories {
		subject, who := s.Request.Subject, &user.DefaultInfo{Groups: []string{user.AllAuthenticated}}
		switch {
		case subject == nil:
			continue
		case subject.Kind == v1alpha1.GroupKind:
			who.Name, who.Groups = anyWord, append(who.Groups, subject.Name)
		case subject.Kind == v1alpha1.ServiceAccountKind:
			who.Name = "system:serviceaccount:" + subject.Namespace + ":" + subject.Name
			who.Groups = append(who.Groups, "system:serviceaccounts", "system:serviceaccounts:"+subject.Namespace)
		default:
			who.Name = subject.Name
			if asked := s.Request.Requester; asked != nil && asked.Username == subject.Name {
				who.Groups = append(who.Groups, asked.Groups...)
			}
		}
		key := fmt.Sprintf("%q %q %q", who.Name, who.Groups, s.Request.Namespace)
		if !known[key] {
			known[key], out = true, append(out, holding{who, s.Request.Namespace})
		}
	}
	return out
}

// callsOf are calls that a rule allows, one for each that the policy may judge in its own way.
func (p *auditPolicy) callsOf(rule *rbacv1.PolicyRule) (out []authorizer.AttributesRecord) {
	names := rule.ResourceNames
	if len(names) == 0 {
		names = append(p.words(func(g auditapi.GroupResources) []string { return g.ResourceNames }), anyWord, "")
	}
	groups := rule.APIGroups
	if slices.Contains(groups, rbacv1.APIGroupAll) {
		groups = append(p.words(func(g auditapi.GroupResources) []string { return []string{g.Group} }), anyWord)
	}
	for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"} {
		if !slices.Contains(rule.Verbs, verb) && !slices.Contains(rule.Verbs, rbacv1.VerbAll) {
			continue
		}
		for _, resource := range p.resourcesOf(rule) {
			resource, sub, _ := strings.Cut(resource, "/")
			for _, group := range groups {
				for _, name := range names {
					out = append(out, authorizer.AttributesRecord{
						Verb: verb, APIGroup: group, Resource: resource, Subresource: sub, Name: name, ResourceRequest: true,
					})
				}
			}
		}
	}
	return out
}

// resourcesOf a rule, in which those of the policy stand for *.
func (p *auditPolicy) resourcesOf(rule *rbacv1.PolicyRule) []string {
	theirs := append(p.words(func(g auditapi.GroupResources) []string { return g.Resources }), anyWord)
	found := map[string]bool{}
	for _, resource := range rule.Resources {
		sub, ofAny := strings.CutPrefix(resource, "*/")
		for _, word := range theirs {
			base, _, _ := strings.Cut(word, "/")
			switch {
			case resource == rbacv1.ResourceAll:
				found[word], found[base], found[base+"/"+anyWord] = true, true, true
			case ofAny:
				found[base+"/"+sub] = true
			default:
				found[resource] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// words of one sort that the policy has.
func (p *auditPolicy) words(of func(auditapi.GroupResources) []string) (out []string) {
	for i := range p.rules {
		for _, g := range p.rules[i].Resources {
			out = append(out, of(g)...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
