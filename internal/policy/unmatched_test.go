// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/test/builders"
)

const noPattern = ": a name is not a pattern; name a group that all of them are in, such as system:authenticated among requesters"

func TestWhatLooksRightAndNeverMatches(t *testing.T) {
	limits := policy.Limits{ReservedNamespaces: []string{"lapse-system", policy.DefaultReserved}}
	good := builders.Policy("p").From(builders.Group("oncall"))
	for name, tc := range map[string]struct {
		policy builders.PolicyBuilder
		want   []string
	}{
		"what is right": {good.In("payments", "a", strings.Repeat("a", 63)), nil},
		"no namespace":  {good, []string{"namespaces is empty, which matches nothing; write names, a selector, or both"}},
		"a pattern": {
			good.In("pr-*"),
			[]string{`namespaces.names[0] "pr-*" never matches: a name is not a pattern; select namespaces by the label ` +
				`kubernetes.io/metadata.name and write a condition, or by labels of yours`},
		},
		"a capital": {
			good.In("Payments"),
			[]string{`namespaces.names[0] "Payments" never matches: it is not the name of a namespace; "payments" may be meant`},
		},
		"a space": {
			good.In("x", " payments"),
			[]string{`namespaces.names[1] " payments" never matches: it is not the name of a namespace; "payments" may be meant`},
		},
		"two in one": {
			good.In("payments,billing"),
			[]string{`namespaces.names[0] "payments,billing" never matches: it is one name; write one entry for each namespace`},
		},
		"too long": {
			good.In(strings.Repeat("a", 64)),
			[]string{`namespaces.names[0] "` + strings.Repeat("a", 64) + `" never matches: it is not the name of a namespace`},
		},
		"empty": {good.In(""), []string{`namespaces.names[0] "" never matches: it is not the name of a namespace`}},
		"reserved": {good.In("kube-system", "lapse-system"), []string{
			`namespaces.names[0] "kube-system" never matches: the operator reserves kube-*, and grants nothing there`,
			`namespaces.names[1] "lapse-system" never matches: the operator reserves lapse-system, and grants nothing there`,
		}},
		"everybody": {
			good.In("x").From(builders.Group("*")),
			[]string{`requesters[0] Group "*"` + noPattern},
		},
		"a pattern of groups, of users and of ServiceAccounts": {
			good.In("x").From(builders.Group("on*"), builders.User("*@example.com"), builders.ServiceAccount("ci", "bot-*"), builders.Group("x")),
			[]string{
				`requesters[0] Group "on*"` + noPattern, `requesters[1] User "*@example.com"` + noPattern,
				`requesters[2] ServiceAccount "ci/bot-*"` + noPattern,
			},
		},
		"a pattern of Roles": {good.In("x").AllowingRole("dep*"), []string{
			`roles[1] Role "dep*": a name is not a pattern; write one entry for each role`,
		}},
		"spaces alone": {good.In("x").To(builders.User("   ")), []string{`grantees[0] User "   " never matches: nobody has that name`}},
		"a revoker with a space": {good.In("x").RevokedBy(builders.User("bob "), builders.Group("security")), []string{
			`revokers[0] User "bob ": spaces count; "bob" may be meant`,
		}},
		"a space at the end": {good.In("x").ApprovedBy(builders.User("bob"), builders.User("alice ")), []string{
			`approvals[0].from[1] User "alice ": spaces count; "alice" may be meant`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := policy.Unmatched(tc.policy.Build(), limits); !slices.Equal(got, tc.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
			}
		})
	}
}

func TestATimeZoneThatDoesNotExistIsAMistake(t *testing.T) {
	for expression, want := range map[string]string{
		`now.getHours("Europe/Berlin") < 18`:                    "",
		`now.getHours("+02:00") < 18 && now.getDayOfWeek() < 6`: "",
		`now.getHours("UTC") < 18`:                              "",
		`now.getHours("Europe/" + request.spec.reason) < 18`:    "",
		`now.getHours("Europe/Atlantis") < 18`: `conditions[0]: "Europe/Atlantis" is no time zone; write one such ` +
			`as "Europe/Berlin" or "+02:00"`,
		`1 < 2 || now.getDayOfWeek("CEST") in [1, 2]`: `conditions[0]: "CEST" is no time zone; write one such as ` +
			`"Europe/Berlin" or "+02:00"`,
	} {
		anyRole := func(v1alpha1.RoleRef) (policy.Role, bool, error) { return policy.Role{}, true, nil }
		problems, err := policy.Compile(builders.Policy("p").If(expression, "").Build()).Problems(anyRole)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if len(problems) > 0 {
			got = problems[0].Message
		}
		if got != want {
			t.Errorf("%s: %q, want %q", expression, got, want)
		}
	}
}
