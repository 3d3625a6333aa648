// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

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
