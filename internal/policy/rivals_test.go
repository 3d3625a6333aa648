// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

func policies(all ...buildable) []v1alpha1.AccessPolicy {
	out := make([]v1alpha1.AccessPolicy, 0, len(all))
	for _, b := range all {
		out = append(out, *b.Build())
	}
	return out
}

func label(key string, operator metav1.LabelSelectorOperator, values ...string) metav1.LabelSelectorRequirement {
	return metav1.LabelSelectorRequirement{Key: key, Operator: operator, Values: values}
}

func TestWhichPolicyLetsWhomPastAnother(t *testing.T) {
	const ticket = `request.spec.reason.matches('^INC-[0-9]+')`
	oncall := builders.Policy("oncall-edit").From(builders.Group("oncall")).Allowing("edit").In("payments").AtMost(4 * time.Hour)
	asks := oncall.If(ticket, "the reason must begin with an incident number")
	team := builders.Policy("team-edit").From(builders.Group("payments-devs")).Allowing("view", "edit").AtMost(4 * time.Hour)
	here := team.In("payments")
	lead, boss := builders.Group("leads"), builders.Group("bosses")
	const start = `policy "team-edit" lets whoever is in both (as a requester) past this one for ClusterRole "edit": `
	const noTicket = `without conditions[0] ("the reason must begin with an incident number")`
	for name, tc := range map[string]struct {
		p, other buildable
		want     string
	}{
		"of the case that people met": {
			asks, team.Selecting("team", "payments").AtMost(8 * time.Hour), start + noTicket + ", for 8h instead of 4h",
		},
		"the same terms":                {asks, here.If(" "+ticket+"\n", "in other words"), ""},
		"a condition of its own":        {asks, here.If("now.getHours() > 7", ""), start + noTicket + " (on conditions of its own)"},
		"a stricter one":                {oncall, here.If(ticket, "").ApprovedBy(lead).AtMost(time.Hour), ""},
		"one that is switched off":      {asks, here.If("false", ""), ""},
		"one by which nobody can ask":   {asks, here.From(builders.ServiceAccount("ci", "bot-*")), ""},
		"one for a name like a pattern": {asks, here.From(builders.Group("on*")), start + noTicket},
		"one that nobody can approve":   {asks, here.ApprovedBy(builders.User("eve")).ApprovedBy(builders.User("eve")), ""},
		"a condition that says nothing": {oncall.If("true", ""), here, ""},
		"another role":                  {asks, here.Allowing("view"), ""},
		"a Role of that name":           {asks, here.Allowing().AllowingRole("edit"), ""},
		"another namespace":             {asks, team.In("billing"), ""},
		"no namespace":                  {asks, team, ""},
		"itself":                        {asks, oncall, ""},
		"a user in a group":             {asks, here.From(builders.User("bob")), start + noTicket},
		"two users": {
			asks.From(builders.User("ann"), builders.User("eve")), here.From(builders.User("bob"), builders.User("eve")),
			`policy "team-edit" lets User "eve" past this one for ClusterRole "edit": ` + noTicket,
		},
		"nobody in common": {asks.From(builders.User("ann")), here.From(builders.User("bob"), builders.ServiceAccount("x", "ann")), ""},
		"the same group": {
			asks, here.From(builders.Group("oncall")),
			`policy "team-edit" lets Group "oncall" and whoever else is in both (as a requester) past this one for ClusterRole "edit": ` + noTicket,
		},
		"no approval": {oncall.ApprovedBy(lead), here, start + "without an approval"},
		"less approval": {
			oncall.ApprovedBy(lead).ApprovedBy(lead), here.ApprovedBy(lead),
			start + `with other approvals than approvals[0] (1 of Group "leads") and approvals[1] (1 of Group "leads")`,
		},
		"other people": {
			oncall.ApprovedBy(lead), here.ApprovedBy(lead, boss), start + `with other approvals than approvals[0] (1 of Group "leads")`,
		},
		"fewer people to choose from": {oncall.ApprovedBy(lead, boss), here.ApprovedBy(boss), ""},
		"his own approval":            {oncall.ApprovedBy(lead), ownApproval(here.ApprovedBy(lead)), start + "with an approval of his own"},
		"his own, by another name": {
			oncall.ApprovedBy(lead), here.ApprovedBy(lead).SharingUIDs(), start + "with an approval by a name that has the same UID as his",
		},
		"a second longer": {oncall, here.AtMost(4*time.Hour + time.Second), start + "for 4h0m1s instead of 4h"},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(Passed(tc.p.Build(), policies(tc.p, tc.other)), "\n")
			if got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func ownApproval(b builders.PolicyBuilder) buildable {
	p := b.Build()
	p.Spec.AllowSelfApproval = true
	return ready{p}
}

// An author may write as many labels as fit into an object, and each pair of policies is compared.
func TestSelectorsOfVeryManyLabelsAreNotCompared(t *testing.T) {
	a, b := &metav1.LabelSelector{MatchLabels: map[string]string{}}, &metav1.LabelSelector{MatchLabels: map[string]string{}}
	for i := range maxValues + 1 {
		a.MatchLabels[fmt.Sprint("l", i)], b.MatchLabels[fmt.Sprint("l", i)] = "x", "y"
	}
	if !mayMatch(a, b) {
		t.Error("they were compared")
	}
}

func TestWhichNamespacesMayBeTheSame(t *testing.T) {
	const name = "kubernetes.io/metadata.name"
	base := builders.Policy("p")
	many := make([]string, 3*maxValues)
	for i := range many {
		many[i] = fmt.Sprint("v", i)
	}
	for _, tc := range []struct {
		what string
		a, b builders.PolicyBuilder
		want bool
	}{
		{"one name", base.In("x", "y"), base.In("y"), true},
		{"other names", base.In("x"), base.In("y"), false},
		{"a name and a label", base.In("x"), base.Selecting("team", "a"), true},
		{"a name and its label", base.In("x"), base.SelectingBy(label(name, "In", "y", "x")), true},
		{"a name and the label of another", base.In("x"), base.SelectingBy(label(name, "In", "y")), false},
		{"a name that is left out", base.In("x"), base.SelectingBy(label(name, "NotIn", "x")), false},
		{"one of two names that is left out", base.In("x", "y"), base.SelectingBy(label(name, "NotIn", "x")), true},
		{"one label, the same value", base.Selecting("team", "a"), base.Selecting("team", "a"), true},
		{"one label, other values", base.Selecting("team", "a"), base.Selecting("team", "b"), false},
		{"other labels", base.Selecting("team", "a"), base.Selecting("stage", "b"), true},
		{"there and gone", base.SelectingBy(label("team", "Exists")), base.SelectingBy(label("team", "DoesNotExist")), false},
		{"gone and not that", base.SelectingBy(label("team", "NotIn", "a")), base.SelectingBy(label("team", "DoesNotExist")), true},
		{"values without the last", base.SelectingBy(label("team", "In", "a", "b")), base.SelectingBy(label("team", "NotIn", "a", "b")), false},
		{"more than is compared", base.SelectingBy(label("team", "In", many...)), base.SelectingBy(label("team", "NotIn", many...)), true},
		{"an empty selector", base.SelectingBy(), base.In("x"), false},
		{"nothing", base, base, false},
	} {
		a, b := tc.a.Build().Spec.Namespaces, tc.b.Build().Spec.Namespaces
		if mayMeet(a, b) != tc.want || mayMeet(b, a) != tc.want {
			t.Errorf("%s: %v and %v, want %v", tc.what, mayMeet(a, b), mayMeet(b, a), tc.want)
		}
	}
}

// Each rule needs people of its own: one who serves two rules is not enough for both.
func TestApprovalsOfAnotherPolicyServeEachOneRule(t *testing.T) {
	a, b, c := builders.User("a"), builders.User("b"), builders.User("c")
	rule := func(n int32, from ...v1alpha1.Subject) v1alpha1.ApprovalRule {
		return v1alpha1.ApprovalRule{From: from, Count: n}
	}
	rules := func(all ...v1alpha1.ApprovalRule) []v1alpha1.ApprovalRule { return all }
	for name, tc := range map[string]struct {
		rules, others []v1alpha1.ApprovalRule
		want          uint
	}{
		"the same":               {rules(rule(2, a, b)), rules(rule(2, a, b)), 0},
		"one rule for two":       {rules(rule(1, a, b), rule(1, a, b)), rules(rule(2, a, b)), 0},
		"fewer":                  {rules(rule(2, a, b)), rules(rule(1, a, b)), 1},
		"one who serves both":    {rules(rule(1, a, b), rule(1, a, c)), rules(rule(1, a), rule(1, builders.User("d"))), 3},
		"each has one":           {rules(rule(1, a, b), rule(1, a, c)), rules(rule(1, a), rule(1, c)), 0},
		"the second has nobody":  {rules(rule(1, a), rule(1, c)), rules(rule(1, a), rule(1, a)), 2},
		"a rule without anybody": {rules(rule(1, a)), rules(rule(1)), 0},
	} {
		if got := tooFew(tc.rules, tc.others); got != tc.want {
			t.Errorf("%s: %b, want %b", name, got, tc.want)
		}
	}
}

func TestRivalsAreToldInOrderAndBounded(t *testing.T) {
	p := builders.Policy("p").From(builders.Group("oncall")).In("payments").If("1 < 2", strings.Repeat("ä", 500))
	for _, there := range []int{maxPassed, maxPassed + 1, maxRivals, maxRivals + 1, 4 * maxRivals} {
		all := policies(p)
		for i := range there {
			all = append(all, *builders.Policy(fmt.Sprintf("q%04d", there-i)).From(builders.Group("devs")).In("payments").Build())
		}
		first := Passed(p.Build(), all)
		slices.Reverse(all)
		told := Passed(p.Build(), all)
		if !slices.Equal(first, told) {
			t.Errorf("%d: the order in which policies are listed shows: %q and %q", there, first, told)
		}
		want := min(there, maxPassed)
		if there > maxPassed {
			want++
		}
		if there > maxRivals {
			want++
			if last := fmt.Sprintf("%d more policies offer", there-maxRivals); !strings.HasPrefix(told[len(told)-1], last) {
				t.Errorf("%d: the last is %q, not %q", there, told[len(told)-1], last)
			}
		}
		if len(told) != want || !strings.HasPrefix(told[0], `policy "q0001" lets`) {
			t.Errorf("%d: told %q", there, told)
		}
		for _, line := range told {
			if len(line) > maxProblem {
				t.Errorf("%d bytes: %s", len(line), line)
			}
		}
	}
}
