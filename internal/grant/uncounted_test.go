// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"errors"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/admission"
	"github.com/lapse-dev/lapse/test/builders"
)

func TestWhyADecisionDoesNotCount(t *testing.T) {
	const approve, deny, revoke = v1alpha1.VerdictApprove, v1alpha1.VerdictDeny, v1alpha1.VerdictRevoke
	bob, carol := builders.User("bob"), builders.User("carol")
	two := builders.Policy("p").ApprovedBy(bob, carol, builders.User("alice"), builders.User("Alice"), builders.User("Bob"))
	of := func(by, uid string, verdict v1alpha1.Verdict) v1alpha1.AccessDecision {
		d := decided(by, verdict)
		d.Spec.Reviewer.UID = uid
		return d
	}
	later := func(d v1alpha1.AccessDecision, after time.Duration) v1alpha1.AccessDecision {
		d.CreationTimestamp = metav1.NewTime(noon.Add(after))
		return d
	}
	in := func(d v1alpha1.AccessDecision, groups ...string) v1alpha1.AccessDecision {
		d.Spec.Reviewer.Groups = groups
		return d
	}
	again := of("bob", "b", approve)
	again.Name = "again"
	pending, held, over := v1alpha1.StatePending, v1alpha1.StateActive, v1alpha1.StateExpired
	for name, tc := range map[string]struct {
		policy builders.PolicyBuilder
		state  v1alpha1.RequestState
		d      v1alpha1.AccessDecision
		want   string
	}{
		"counted":        {two, pending, of("bob", "b", approve), ""},
		"not judged yet": {two, "", of("eve", "", approve), ""},
		"a stranger":     {two, pending, of("eve", "", approve), `"eve" is not among the approvers of policy p`},
		"nearly an approver, by a group": {
			two.ApprovedBy(builders.Group("leads")), pending, in(of("eve", "", approve), "Leads", "system:authenticated"),
			`"eve" (groups: "Leads") is not among the approvers of policy p; Group "leads" differs from "Leads" only in case`,
		},
		"who asked": {
			two, pending, of("alice", "", approve), `"alice" asked for the access or gets it, and policy p does not say`,
		},
		"who asked, otherwise spelt": {two, pending, of("Alice", "a", approve), `"Alice" has the UID of who asked ("alice")`},
		"again, otherwise spelt":     {two, pending, of("Bob", "b", approve), `"Bob" has the UID of "bob", is taken for the same person`},
		"again": {
			two, pending, again, `"bob" approved already, by decision by-bob`,
		},
		"one too many":            {two, pending, of("carol", "", approve), "nobody is needed any more out of those for whom"},
		"not looked at yet":       {two.ApprovedBy(carol), pending, of("carol", "", approve), ""},
		"while a role is missing": {two, v1alpha1.StateFailed, of("carol", "", approve), ""},
		"held already":            {two, held, of("carol", "", approve), "access was given without it"},
		"at the last moment":      {two, held, later(of("carol", "", approve), time.Hour-time.Second), "access was given without it"},
		"too late": {
			two, pending, later(of("carol", "", approve), time.Hour), "it came too late: policy p wants approvals by 2026-",
		},
		"before the request":     {two, pending, later(of("carol", "", approve), -time.Second), "it was made before the request"},
		"in a gap":               {two, pending, later(of("carol", "", approve), 30*time.Minute), "it was made when it was not certain"},
		"in a doubtful gap":      {two, pending, later(of("carol", "", approve), 40*time.Minute), ""},
		"no approval wanted":     {builders.Policy("p"), held, of("carol", "", approve), "policy p asks for no approval"},
		"after the end":          {two, over, later(of("eve", "", revoke), time.Minute+time.Second), "the request was over at 2026-"},
		"at the end":             {two, over, later(of("eve", "", revoke), time.Minute), ""},
		"a stranger, to the end": {two, over, of("eve", "", approve), `"eve" is not among the approvers of policy p`},
		"an approver, perhaps":   {two, over, of("carol", "", approve), ""},
		"who denies his own":     {two, pending, of("alice", "", deny), ""},
		"a denial by a stranger": {two, pending, of("eve", "", deny), `"eve" is neither an approver nor a revoker of policy p`},
		"a denial by who is nearly a revoker": {
			two.RevokedBy(builders.User("Eve")), pending, of("eve", "", deny),
			`"eve" is neither an approver nor a revoker of policy p; User "Eve" differs from "eve" only in case`,
		},
		"a denial by who may": {two, pending, of("dan", "", deny), ""},
		"where nobody approves": {
			builders.Policy("p"), held, of("eve", "", revoke), `"eve" is no revoker of policy p and may not delete the request`,
		},
		"where nobody approves, by who is nearly a revoker": {
			builders.Policy("p").RevokedBy(builders.Group("idp:ops")), held, in(of("eve", "", revoke), "ops"),
			`"eve" (groups: "ops") is no revoker of policy p and may not delete the request; the policy asks for no approval, ` +
				`so that nobody else can end it; Group "idp:ops" differs from "ops" only in a prefix`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			req := request()
			req.Spec.Requester.UID = "a"
			req.Status.State = tc.state
			req.Status.Approvals = []v1alpha1.Approval{{Decision: "by-bob", Reviewer: "bob"}}
			if tc.state == over {
				end := metav1.NewTime(noon.Add(time.Minute))
				req.Status.Grant = &v1alpha1.Grant{EndedAt: &end}
			}
			c := Counting{
				Policy: tc.policy.Build(), Decisions: []v1alpha1.AccessDecision{of("bob", "b", approve), tc.d},
				Admission: admission.State{Gaps: []admission.Gap{
					{From: noon.Add(29 * time.Minute), Until: noon.Add(31 * time.Minute)},
					{From: noon.Add(39 * time.Minute), Until: noon.Add(41 * time.Minute), Doubtful: true},
				}},
				MayEnd: func(who *v1alpha1.Identity) (bool, error) { return who.Username == "dan", nil },
			}
			got, err := c.Uncounted(req, &tc.d)
			if err != nil || !strings.HasPrefix(got, tc.want) || got != "" && tc.want == "" {
				t.Errorf("got %q (%v), want %q", got, err, tc.want)
			}
		})
	}
}

func TestNothingIsSaidOfADecisionOfWhichItCannotBeTold(t *testing.T) {
	req, d := request(), decided("eve", v1alpha1.VerdictDeny)
	req.Status.State = v1alpha1.StatePending
	down := errors.New("no answer")
	c := Counting{Policy: builders.Policy("p").Build(), MayEnd: func(*v1alpha1.Identity) (bool, error) { return false, down }}
	if why, err := c.Uncounted(req, &d); why != "" || !errors.Is(err, down) {
		t.Errorf("said %q (%v)", why, err)
	}
	c.Policy = nil
	if why, err := c.Uncounted(req, &d); why != "" || err != nil {
		t.Errorf("without a policy: said %q (%v)", why, err)
	}
}

func TestWhatIsToldOfADecisionIsInert(t *testing.T) {
	d := decided("eve\x1b[2J\u202e", v1alpha1.VerdictApprove)
	if got := UncountedNote(&d, "because"); strings.ContainsAny(got, "\x1b\u202e") || !strings.HasSuffix(got, " does not count: because") {
		t.Errorf("told %q", got)
	}
}
