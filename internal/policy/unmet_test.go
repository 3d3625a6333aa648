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

func TestApprovalsThatNobodyCanGive(t *testing.T) {
	alice, eve, zoe, leads := builders.User("alice"), builders.User("eve"), builders.User("zoe"), builders.Group("leads")
	bot := builders.ServiceAccount("ci", "bot")
	rule := func(count int32, from ...v1alpha1.Subject) v1alpha1.ApprovalRule {
		return v1alpha1.ApprovalRule{From: from, Count: count}
	}
	const twoOfEve, oneOfNobody = `: 2 must approve by approvals[0], out of User "eve"`, `: 1 must approve by approvals[0], out of nobody`
	self := func(p *v1alpha1.AccessPolicySpec) { p.AllowSelfApproval = true }
	for name, tc := range map[string]struct {
		rules []v1alpha1.ApprovalRule
		from  []v1alpha1.Subject
		with  func(*v1alpha1.AccessPolicySpec)
		want  []string
	}{
		"no approval": {nil, []v1alpha1.Subject{alice}, nil, nil},
		"one of one":  {[]v1alpha1.ApprovalRule{rule(1, eve)}, []v1alpha1.Subject{alice}, nil, nil},
		"two of one":  {[]v1alpha1.ApprovalRule{rule(2, eve)}, []v1alpha1.Subject{alice}, nil, []string{twoOfEve}},
		"named twice": {[]v1alpha1.ApprovalRule{rule(2, eve, eve)}, nil, nil, []string{twoOfEve}},
		"nobody":      {[]v1alpha1.ApprovalRule{rule(1)}, nil, nil, []string{oneOfNobody}},
		"a group":     {[]v1alpha1.ApprovalRule{rule(8, eve, leads)}, []v1alpha1.Subject{eve}, nil, nil},
		"beside groups": {
			[]v1alpha1.ApprovalRule{rule(1, leads), rule(2, bot)},
			nil, nil,
			[]string{`: 2 must approve by approvals[1], out of ServiceAccount "ci/bot"`},
		},
		"three rules for two people": {
			[]v1alpha1.ApprovalRule{rule(1, eve, zoe), rule(1, zoe, eve), rule(1, eve)},
			nil, nil,
			[]string{`: 3 must approve by approvals[0] and approvals[1] and approvals[2], out of User "eve", User "zoe"`},
		},
		"two of three rules": {
			[]v1alpha1.ApprovalRule{rule(1, alice, zoe), rule(1, eve), rule(1, eve)},
			nil, nil,
			[]string{`: 2 must approve by approvals[1] and approvals[2], out of User "eve"`},
		},
		"rules that share people": {[]v1alpha1.ApprovalRule{rule(1, eve, zoe), rule(1, eve)}, []v1alpha1.Subject{alice}, nil, nil},
		"a name that is nobody's": {[]v1alpha1.ApprovalRule{rule(1, builders.ServiceAccount("ci", "bot-*"))}, nil, nil, []string{oneOfNobody}},
		"a name like a pattern":   {[]v1alpha1.ApprovalRule{rule(1, builders.User("ev*"))}, nil, nil, nil},
		"the requester himself": {
			[]v1alpha1.ApprovalRule{rule(1, alice)},
			[]v1alpha1.Subject{alice, zoe},
			nil,
			[]string{` for what "alice" asks, who does not count: 1 must approve by approvals[0], out of nobody`},
		},
		"a ServiceAccount itself": {
			[]v1alpha1.ApprovalRule{rule(2, bot, eve)},
			[]v1alpha1.Subject{bot},
			nil,
			[]string{` for what "system:serviceaccount:ci:bot" asks, who does not count: 2 must approve by approvals[0], out of User "eve"`},
		},
		"the requester, who may": {[]v1alpha1.ApprovalRule{rule(1, alice)}, []v1alpha1.Subject{alice}, self, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := builders.Policy("p").In("x").From(builders.Group("oncall")).Build()
			p.Spec.Approvals, p.Spec.Requesters = tc.rules, append(p.Spec.Requesters, tc.from...)
			if tc.with != nil {
				tc.with(&p.Spec)
			}
			var got []string
			for _, found := range policy.Unmatched(p, policy.Limits{}) {
				if said, ours := strings.CutPrefix(found, "approvals can never be met"); ours {
					got = append(got, said)
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
			}
		})
	}
}
