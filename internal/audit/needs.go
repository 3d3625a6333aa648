// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	words "github.com/lapse-dev/lapse/internal/text"
)

// Needs is what calls used of a role as it was when some grants began.
type Needs struct {
	Role v1alpha1.RoleRef `json:"role"`
	// Namespace of a Role.
	Namespace string `json:"namespace,omitempty"`
	Digest    string `json:"digest,omitempty"`
	// Grants of it, by the namespace and name of their requests, and who held them.
	Grants  []string `json:"grants"`
	Holders []string `json:"holders"`
	// From and Until are when the first grant began, and when the last one ended or the log
	// does. Held is the sum of what each was held for, in seconds.
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
	Held  int64     `json:"heldSeconds"`
	// Calls that the grants allowed, and OtherCalls of their holders that something else
	// allowed and the role does.
	Calls      int `json:"calls"`
	OtherCalls int `json:"otherCalls"`
	// Rules of the role, and what was used of them.
	Rules []RuleUse `json:"rules,omitempty"`
	// Untold is the part of the rules of which no log tells. A smaller role has it.
	Untold []rbacv1.PolicyRule `json:"untold,omitempty"`
	// Unclear says why no smaller role can be suggested.
	Unclear []string `json:"unclear,omitempty"`
	// Histories of the grants.
	Histories []*History `json:"-"`

	name        string
	rules       []rbacv1.PolicyRule
	uses        map[use]int
	known       map[use]use
	unexplained []*Call
}

// Survey has the reporter take note of all of the log, so that Needs can say what it tells of.
// It is to be called before ReadCalls, which takes longer then.
func (r *Reporter) Survey() { r.log = &surveyed{} }

// surveyed is what a log has of anybody.
type surveyed struct {
	first, last time.Time
	// reads says whether anybody's get or list is in it.
	reads bool
}

func (s *surveyed) see(e *event) {
	if e.Began.IsZero() {
		return
	}
	if s.first.IsZero() || e.Began.Before(s.first) {
		s.first = e.Began
	}
	if e.Began.After(s.last) {
		s.last = e.Began
	}
	s.reads = s.reads || e.Verb == "get" || e.Verb == "list"
}

// Needs of each role that was granted, for each set of rules that it had, in the order in which
// these were given. Survey and all reading come before.
func (r *Reporter) Needs() []*Needs {
	var out []*Needs
	byRole := map[string]*Needs{}
	names := map[string]int{}
	for _, s := range r.Histories() {
		if s.Grant == nil {
			continue
		}
		n := &Needs{Role: s.Request.RoleRef, Digest: s.Grant.RoleDigest, From: s.Grant.GrantedAt, name: s.Request.RoleRef.Name + "-as-used", uses: map[use]int{}, known: map[use]use{}}
		if n.Role.Kind == v1alpha1.RoleKind {
			n.Namespace = s.Request.Namespace
		}
		role := fmt.Sprintf("%q", []string{n.Role.Kind, n.Namespace, n.Role.Name})
		key := role + n.Digest
		if byRole[key] == nil {
			if names[role]++; names[role] > 1 {
				n.name += fmt.Sprintf("-%d", names[role])
			}
			byRole[key], out = n, append(out, n)
		}
		byRole[key].Histories = append(byRole[key].Histories, s)
	}
	for _, n := range out {
		n.sum(r.log)
	}
	return out
}

// sum up the histories.
func (n *Needs) sum(log *surveyed) {
	grants := map[string]bool{}
	for _, s := range n.Histories {
		if s.Grant.RoleRules != nil {
			n.rules = s.Grant.RoleRules.All()
		}
		name := s.Request.Namespace + "/" + s.Request.Name
		grants[name] = true
		n.Grants = append(n.Grants, name)
		n.Holders = append(n.Holders, holder(s.Request.Subject))
		until := s.Grant.end()
		if s.Grant.EndedAt == nil && log != nil && until.After(log.last) {
			until = log.last
		}
		if until.After(n.Until) {
			n.Until = until
		}
		n.Held += max(int64(until.Sub(s.Grant.GrantedAt).Seconds()), 0)
	}
	slices.Sort(n.Holders)
	n.Holders = slices.Compact(n.Holders)
	for _, s := range n.Histories {
		n.count(s, grants)
	}
	n.Rules, n.Untold = usesOf(n.rules, n.uses), untold(n.rules)
	n.doubt(log)
}

// count the uses of a grant. Others are counted where they are no call of a grant of these.
func (n *Needs) count(s *History, grants map[string]bool) {
	for _, c := range s.Calls {
		n.Calls++
		if !n.used(c.uses()) {
			n.unexplained = append(n.unexplained, c)
		}
	}
	for _, c := range s.Others {
		if u, is := s.impersonated(c); is {
			n.used([]use{u})
		} else if s.own(c) && !grants[c.AllowedByGrant] && n.used(c.uses()) {
			n.OtherCalls++
		}
	}
	for _, c := range s.Refused { // what an account was refused, who took its name was not
		if u, is := s.impersonated(c); is {
			n.used([]use{u})
		}
	}
}

// used notes uses that the rules allow; false if they do not allow the first.
func (n *Needs) used(uses []use) bool {
	for _, u := range uses {
		if _, known := n.known[u]; !known {
			n.known[u] = allowed(n.rules, u)
		}
		if as := n.known[u]; as != (use{}) {
			n.uses[as]++
		}
	}
	return n.known[uses[0]] != use{}
}

// doubt says what there is to say against a smaller role.
func (n *Needs) doubt(log *surveyed) {
	if n.rules == nil {
		n.unclear("the records do not have the rules of the role: they were too many, or the records of when access was given are missing")
	}
	if len(n.unexplained) > 0 && n.rules != nil {
		c := n.unexplained[0]
		n.unclear("calls that the rules did not allow when access was given: %d, such as %s %s at %s; the role became another one",
			len(n.unexplained), c.Verb, c.Resource, words.Time(c.At))
	}
	if log == nil || log.first.IsZero() {
		n.unclear("there is no audit log")
		return
	}
	n.outside(log)
	reads := slices.ContainsFunc(n.rules, func(r rbacv1.PolicyRule) bool {
		return len(r.Resources) > 0 && slices.ContainsFunc(r.Verbs, func(v string) bool { return v == "get" || v == "list" || v == rbacv1.VerbAll })
	})
	if reads && !log.reads {
		n.unclear("the audit log has no get and no list of anybody, so the audit policy leaves reads out")
	}
}

// outside says which grants were held when the log does not tell.
func (n *Needs) outside(log *surveyed) {
	early := slices.IndexFunc(n.Histories, func(s *History) bool { return s.Grant.GrantedAt.Before(log.first) })
	if early >= 0 {
		n.unclear("the audit log begins at %s, after the grant %s (%s)",
			words.Time(log.first), n.Grants[early], words.Time(n.Histories[early].Grant.GrantedAt))
	}
	late := slices.IndexFunc(n.Histories, func(s *History) bool { return s.Grant.EndedAt != nil && s.Grant.EndedAt.After(log.last) })
	if late >= 0 {
		n.unclear("the audit log ends at %s, before the grant %s did (%s)",
			words.Time(log.last), n.Grants[late], words.Time(*n.Histories[late].Grant.EndedAt))
	}
}

func (n *Needs) unclear(format string, args ...any) {
	n.Unclear = append(n.Unclear, fmt.Sprintf(format, args...))
}

// NotLogged says what the role allows and the audit policy does not log, if anything.
func (n *Needs) NotLogged(what []string) {
	const named = 8
	if len(what) == 0 {
		return
	}
	more := ""
	if len(what) > named {
		more = fmt.Sprintf(" and %d more", len(what)-named)
	}
	n.unclear("the audit policy does not log all that the role allows: %s%s", strings.Join(what[:min(named, len(what))], ", "), more)
}

// Suggestion is a Role or ClusterRole that would have been enough, under a name of its own;
// nil if none can be suggested, or if nothing was used.
func (n *Needs) Suggestion() any {
	rules := narrowed(n.rules, slices.Collect(maps.Keys(n.uses)))
	if len(n.Unclear) > 0 || len(rules) == 0 {
		return nil
	}
	about := metav1.ObjectMeta{Name: n.name, Namespace: n.Namespace}
	of := metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: cmp.Or(n.Role.Kind, v1alpha1.ClusterRoleKind)}
	if n.Role.Kind == v1alpha1.RoleKind {
		return &rbacv1.Role{TypeMeta: of, ObjectMeta: about, Rules: rules}
	}
	return &rbacv1.ClusterRole{TypeMeta: of, ObjectMeta: about, Rules: rules}
}
