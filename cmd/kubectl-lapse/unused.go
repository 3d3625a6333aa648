// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/lapse-dev/lapse/internal/audit"
	"github.com/lapse-dev/lapse/internal/text"
)

// printUnused tells of each role that was granted what calls used of it.
func (o *reportOptions) printUnused(r *audit.Reporter) error {
	all := r.Needs()
	unclear := 0
	for _, n := range all {
		if o.policy != nil {
			n.NotLogged(notLogged(o.policy, n))
		}
		if len(n.Unclear) > 0 {
			unclear++
		}
	}
	if err := o.writeUnused(all); err != nil {
		return err
	}
	if unclear > 0 {
		return &exitError{exitNoSuggestion, fmt.Sprintf("roles of which no smaller one can be suggested: %d of %d", unclear, len(all))}
	}
	return nil
}

func (o *reportOptions) writeUnused(all []*audit.Needs) error {
	if o.format == outputJSON {
		type told struct {
			*audit.Needs
			PolicyRead bool `json:"auditPolicyRead"`
			Suggestion any  `json:"suggestion,omitempty"`
		}
		out := make([]told, 0, len(all))
		for _, n := range all {
			out = append(out, told{n, o.policy != nil, n.Suggestion()})
		}
		return writeJSON(o.Out, out)
	}
	var b strings.Builder
	if len(all) == 0 {
		b.WriteString("# no access is like that, as far as the records go\n")
	}
	for i, n := range all {
		if i > 0 {
			b.WriteString("---\n")
		}
		if err := printNeeds(&b, n, o.policy != nil); err != nil {
			return err
		}
	}
	return writeSafe(o.Out, b.String(), false)
}

// printNeeds writes a manifest, with all there is to say in comments.
func printNeeds(b *strings.Builder, n *audit.Needs, policyRead bool) error {
	say := func(format string, args ...any) { b.WriteString("# " + text.Line(fmt.Sprintf(format, args...)) + "\n") }
	item := func(s string) { b.WriteString("#   " + text.Line(s) + "\n") }
	say("%s %s, as it was given to %s", n.Role.Kind, n.Role.Name, some(n.Holders))
	say("grants: %d: %s", len(n.Grants), some(n.Grants))
	say("held from %s to %s, for %s in all", text.Time(n.From), text.Time(n.Until), text.Duration(time.Duration(n.Held)*time.Second))
	say("seen: %d calls that it allowed; %d of its holders that something else allowed, and it does", n.Calls, n.OtherCalls)
	sayRules(n, say, item)
	if len(n.Unclear) > 0 {
		say("NO SMALLER ROLE CAN BE SUGGESTED:")
		for _, why := range n.Unclear {
			item(why)
		}
		return nil
	}
	if !policyRead {
		say("not looked at: whether the audit policy logs all that the role allows (--audit-policy); what it leaves out counts as not used")
	}
	role := n.Suggestion()
	if role == nil {
		say("nothing of it was used: the access was not needed")
		return nil
	}
	out, err := yaml.Marshal(role)
	if err == nil {
		_, err = b.Write(out)
	}
	return err
}

func sayRules(n *audit.Needs, say func(string, ...any), item func(string)) {
	var unused, partly []string
	for i := range n.Rules {
		switch rule := &n.Rules[i]; {
		case rule.Calls == 0:
			unused = append(unused, ruleText(&rule.Rule))
		case wordsText(&rule.Unused) != "":
			partly = append(partly, ruleText(&rule.Rule)+"; not used: "+wordsText(&rule.Unused))
		}
	}
	list := func(rules []string, format string, args ...any) {
		if len(rules) > 0 {
			say(format, args...)
		}
		for _, rule := range rules {
			item(rule)
		}
	}
	list(unused, "rules that no call used: %d of %d", len(unused), len(n.Rules))
	list(partly, "rules that calls used in part: %d of %d", len(partly), len(n.Rules))
	untold := make([]string, 0, len(n.Untold))
	for i := range n.Untold {
		untold = append(untold, ruleText(&n.Untold[i]))
	}
	list(untold, "kept, since no audit log tells of such verbs:")
}

// some of them, if there are many.
func some(names []string) string {
	const many = 10
	if len(names) <= many {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:many], ", "), len(names)-many)
}

// ruleText is such as "get, list pods, services of apps, named a".
func ruleText(rule *rbacv1.PolicyRule) string {
	out := strings.Join(rule.Verbs, ", ") + " " + strings.Join(slices.Concat(rule.Resources, rule.NonResourceURLs), ", ")
	if groups := groupsText(rule); len(rule.Resources) > 0 && groups != "core" {
		out += " of " + groups
	}
	if len(rule.ResourceNames) > 0 {
		out += ", named " + strings.Join(rule.ResourceNames, ", ")
	}
	if len(rule.NonResourceURLs) > 0 {
		out += ", which no RoleBinding allows"
	}
	return out
}

// groupsText names the core group, which has no name.
func groupsText(rule *rbacv1.PolicyRule) string {
	groups := make([]string, 0, len(rule.APIGroups))
	for _, group := range rule.APIGroups {
		if group == "" {
			group = "core"
		}
		groups = append(groups, group)
	}
	return strings.Join(groups, ", ")
}

// wordsText are all words of a rule.
func wordsText(rule *rbacv1.PolicyRule) string {
	var out []string
	for _, words := range []string{
		strings.Join(rule.Verbs, ", "), groupsText(rule), strings.Join(rule.Resources, ", "), strings.Join(rule.ResourceNames, ", "),
		strings.Join(rule.NonResourceURLs, ", "),
	} {
		if words != "" {
			out = append(out, words)
		}
	}
	return strings.Join(out, "; ")
}
