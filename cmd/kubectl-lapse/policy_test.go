// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/test/builders"
)

func TestWhatAnotherPolicyWouldWant(t *testing.T) {
	by := func(count int32, from ...v1alpha1.Subject) policy.Decision {
		return policy.Decision{Verdict: policy.Allowed, Approvals: []v1alpha1.ApprovalRule{{From: from, Count: count}}}
	}
	leads, bosses := builders.Group("leads"), builders.Group("bosses")
	atOnce, one, his, shared := policy.Decision{Verdict: policy.Allowed}, by(1, leads), by(1, leads), by(1, leads)
	his.AllowSelfApproval, shared.UIDIsShared = true, true
	denied := policy.Decision{Verdict: policy.Denied, Denials: []policy.Denial{{Policy: "p", Objections: []string{"no ticket", "too long"}}}}
	const oneLead = ", which asks for approval by 1 of group:leads: this is allowed "
	for name, tc := range map[string]struct {
		other, d policy.Decision
		want     string
	}{
		"an approval, where none is asked for": {one, atOnce, oneLead + "without an approval"},
		"more approvals": {
			by(2, leads), one,
			`, which asks for approval by 2 of group:leads: this is allowed with other approvals than approvals[0] (2 of Group "leads")`,
		},
		"the approval of others": {
			by(1, bosses), one,
			`, which asks for approval by 1 of group:bosses: this is allowed with other approvals than approvals[0] (1 of Group "bosses")`,
		},
		"the approval of somebody else":     {one, his, oneLead + "with an approval of his own"},
		"the approval of another UID":       {one, shared, oneLead + "with an approval by a name that has the same UID as his"},
		"the same approval":                 {one, one, ""},
		"fewer approvals":                   {one, by(2, leads), ""},
		"no approval":                       {atOnce, one, ""},
		"conditions that do not hold":       {denied, one, ": no ticket, and too long"},
		"nothing, as it is for other roles": {policy.Decision{Verdict: policy.NoMatchingPolicy}, one, ""},
	} {
		if got := wantedBy(tc.other, tc.d); got != tc.want {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}

func TestPolicyTestTellsOfAPolicyThatWantsMoreApprovals(t *testing.T) {
	leads := func(count string) string {
		return "approvals: [{count: " + count + ", from: [{kind: Group, name: leads}]}]"
	}
	in := policyOf("one", leads("1")) + policyOf("two", leads("2")) + asking("debug", "INC-1: x", "needs-approval by one")
	code, out, said := offline(t, in, "policy", "test", "-f", "-", "--requester", "alice", "--requester-group", "oncall")
	const want = "      gets past policy two, which asks for approval by 2 of group:leads: this is allowed with other approvals than "
	if code != exitOK || !strings.Contains(out, want) {
		t.Errorf("exit code %d, %q %q", code, out, said)
	}
}

func TestPolicyTestTellsOfApprovalsThatNobodyCanGive(t *testing.T) {
	in := policyOf("p", "approvals: [{count: 1, from: [{kind: User, name: alice}]}]") + asking("debug", "INC-1: x", "needs-approval by p")
	for who, want := range map[string]bool{"alice": true, "bob": false} {
		code, out, said := offline(t, in, "policy", "test", "-f", "-", "--requester", who, "--requester-group", "oncall")
		const never = `; its approvals can never be met for what "alice" asks, who does not count: 1 must approve by approvals[0], out of nobody`
		if code != exitOK || strings.Contains(out, never) != want {
			t.Errorf("%s: exit code %d, %q %q", who, code, out, said)
		}
	}
}

func TestPolicyTestDeniesWhatIsSurelyRefused(t *testing.T) {
	const soon = `conditions: [{expression: "!has(request.spec.notBefore) || ` +
		`request.spec.notBefore - request.metadata.creationTimestamp < duration('1000h')"}]`
	in := policyOf("p", "grantees: [{kind: User, name: bob}]\n"+soon)
	const ticket = "reason: INC-1, "
	for name, tc := range map[string]struct{ spec, expected, says string }{
		"nothing wrong":               {ticket + "duration: 1h", "allowed by p", "policy p allows this for 1h"},
		"as planned as may be":        {ticket + `notBefore: "2026-12-31T12:00:00Z"`, "allowed", "policy p allows this"},
		"planned too far ahead":       {ticket + `notBefore: "2026-12-31T12:00:01Z"`, "denied", "is more than 30 days after the request"},
		"too short":                   {ticket + "duration: 5s", "denied", "duration must be between 10s and 24h"},
		"for somebody else, for ever": {ticket + "subject: {kind: User, name: bob}", "denied", "notAfter is required when the subject is not"},
		"a reason that turns around":  {`reason: "a\u202e"`, "denied", "character 2 is U+202E"},
	} {
		request, _, _ := strings.Cut(asking("r", "", tc.expected), "spec: ")
		request += "spec: {roleRef: {kind: ClusterRole, name: edit}, " + tc.spec + "}\n"
		code, out, said := offline(t, in+request, "policy", "test", "-f", "-", "--now", "2026-12-01T12:00:00Z",
			"--requester", "alice", "--requester-group", "oncall")
		if code != exitOK || !strings.Contains(out, tc.says) {
			t.Errorf("%s: exit code %d, %q %q", name, code, out, said)
		}
	}
}
