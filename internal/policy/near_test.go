// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

func TestARefusalSaysWhichGranteeIsNearly(t *testing.T) {
	bob, account := builders.User("Bob"), builders.ServiceAccount("ci", "bot")
	for name, tc := range map[string]struct {
		subject v1alpha1.Subject
		to      []v1alpha1.Subject
		want    string
	}{
		"another case": {
			bob, []v1alpha1.Subject{builders.User("zoe"), builders.User("bob")}, `; User "bob" differs from "Bob" only in case`,
		},
		"another kind":      {bob, []v1alpha1.Subject{builders.Group("bob")}, `(Group "bob")`},
		"another person":    {bob, []v1alpha1.Subject{builders.User("zoe")}, `(User "zoe")`},
		"an account":        {account, []v1alpha1.Subject{builders.ServiceAccount("cd", "bot")}, `(ServiceAccount "cd/bot")`},
		"a group, a prefix": {builders.Group("leads"), []v1alpha1.Subject{builders.Group("idp:leads")}, ` from "leads" only in a prefix`},
	} {
		t.Run(name, func(t *testing.T) {
			got := judged(t, inputOf(ask().To(tc.subject).Build()), offer("p").To(tc.to...)).Message()
			if !strings.HasSuffix(got, tc.want) {
				t.Errorf("got  %s\nwant … %s", got, tc.want)
			}
		})
	}
}

func TestWhoIsNearlyAnApprover(t *testing.T) {
	leads, alice := builders.Group("leads"), builders.User("alice")
	for name, tc := range map[string]struct {
		who          v1alpha1.Identity
		groups, near string
	}{
		"by a group": {
			v1alpha1.Identity{Username: "bob", Groups: []string{"x", "Leads", "system:authenticated"}},
			`"Leads", "x"`, `; Group "leads" differs from "Leads" only in case`,
		},
		"by name":        {v1alpha1.Identity{Username: "idp:alice"}, "", `; User "alice" differs from "idp:alice" only in a prefix`},
		"who is one":     {v1alpha1.Identity{Username: "alice", Groups: []string{"leads"}}, `"leads"`, ""},
		"by no means":    {v1alpha1.Identity{Username: "bob", Groups: []string{"lead"}}, `"lead"`, ""},
		"not an account": {v1alpha1.Identity{Username: "system:serviceaccount:ci:bot", Groups: []string{"Leads"}}, "", ""},
		"not by a kind":  {v1alpha1.Identity{Username: "leads"}, "", ""},
	} {
		if got := GroupsOf(&tc.who); got != tc.groups {
			t.Errorf("%s: groups %s, want %s", name, got, tc.groups)
		}
		if got := NearMiss(&tc.who, []v1alpha1.Subject{leads, alice}); got != tc.near {
			t.Errorf("%s: got %q, want %q", name, got, tc.near)
		}
	}
}

func TestARefusalSaysWhatWhoeverAskedHas(t *testing.T) {
	for name, tc := range map[string]struct {
		groups []string
		from   []string
		want   string
	}{
		"no group": {nil, []string{"leads"}, `requester "alice" is not among its requesters (Group "leads")`},
		"those of all": {
			[]string{"system:authenticated"},
			[]string{"leads"},
			`requester "alice" is not among its requesters (Group "leads")`,
		},
		"some": {
			[]string{"dev", "a", "system:authenticated"},
			[]string{"leads"},
			`requester "alice" (groups: "a", "dev") is not among its requesters (Group "leads")`,
		},
		"many": {
			strings.Split("a b c d e f g", " "),
			[]string{"leads"},
			`requester "alice" (groups: "a", "b", "c", "d", "e" and 2 more) is not among its requesters (Group "leads")`,
		},
		"another case": {
			[]string{"Leads"},
			[]string{"x", "leads"},
			`(Group "x", Group "leads"); Group "leads" differs from "Leads" only in case`,
		},
		"a space":            {[]string{"leads"}, []string{"leads "}, `(Group "leads "); Group "leads " differs from "leads" only in spaces`},
		"another form":       {[]string{"Caf\u00e9"}, []string{"Cafe\u0301"}, `differs from "Café" only in Unicode form`},
		"a prefix":           {[]string{"oidc:leads"}, []string{"leads"}, `; Group "leads" differs from "oidc:leads" only in a prefix`},
		"two things":         {[]string{"oidc:Leads"}, []string{"leads"}, `; Group "leads" differs from "oidc:Leads" only in a prefix and case`},
		"a form and a space": {[]string{" Caf\u00e9"}, []string{"Cafe\u0301"}, `differs from " Café" only in Unicode form and spaces`},
		"a path":             {[]string{"leads"}, []string{"/org/leads"}, `; Group "/org/leads" differs from "leads" only in a prefix`},
		"nothing in common": {
			[]string{"leaders"},
			[]string{"leads"},
			`requester "alice" (groups: "leaders") is not among its requesters (Group "leads")`,
		},
		"a group, no person": {[]string{"bob"}, nil, `is not among its requesters (User "bob")`},
	} {
		t.Run(name, func(t *testing.T) {
			from := []v1alpha1.Subject{builders.User("bob")}
			for i, g := range tc.from {
				from = append(from[:i], builders.Group(g))
			}
			p := offer("p").From(from...)
			got := judged(t, inputOf(ask().By("alice", tc.groups...).Build()), p).Message()
			if !strings.HasSuffix(got, tc.want) {
				t.Errorf("got  %s\nwant … %s", got, tc.want)
			}
		})
	}
}
