// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/test/builders"
)

func TestCountSaysWhyAnApprovalWouldChangeNothing(t *testing.T) {
	now := time.Now()
	vote := func(req *v1alpha1.AccessRequest, who string, groups ...string) v1alpha1.AccessDecision {
		d := builders.Decision(who, req, v1alpha1.VerdictApprove)
		d.CreationTimestamp = req.CreationTimestamp
		d.Spec.Reviewer = &v1alpha1.Identity{Username: who, Groups: groups}
		return *d
	}
	p := builders.Policy("p").ApprovedBy(builders.Group("leads")).ApprovedBy(builders.Group("security")).Build()
	for name, tc := range map[string]struct {
		votes []string // user/group
		me    v1alpha1.Identity
		age   time.Duration
		want  string
	}{
		"the first of two":  {nil, v1alpha1.Identity{Username: "bob", Groups: []string{"leads"}}, 0, ""},
		"the second of two": {[]string{"dave/security"}, v1alpha1.Identity{Username: "bob", Groups: []string{"leads"}}, 0, ""},
		"one who makes room for another": {
			[]string{"both/leads,security"}, v1alpha1.Identity{Username: "bob", Groups: []string{"leads"}}, 0, "",
		},
		"the second lead": {
			[]string{"zoe/leads"},
			v1alpha1.Identity{Username: "bob", Groups: []string{"leads"}},
			0,
			`nobody is needed any more out of those for whom you stand; it waits for 1 of Group "security"; approved by "zoe"`,
		},
		"the same person again": {
			[]string{"bob/leads"}, v1alpha1.Identity{Username: "bob", Groups: []string{"leads"}}, 0, "you (bob) approved it already",
		},
		"after the time in which it is asked": {
			nil, v1alpha1.Identity{Username: "bob", Groups: []string{"leads"}}, 2 * time.Hour, "late had to be approved by",
		},
	} {
		t.Run(name, func(t *testing.T) {
			req := builders.Request("late").In("payments").By("alice").Build()
			req.UID, req.CreationTimestamp = "u", metav1.NewTime(now.Add(-tc.age).Truncate(time.Second))
			var votes []v1alpha1.AccessDecision
			for _, v := range tc.votes {
				who, groups, _ := strings.Cut(v, "/")
				votes = append(votes, vote(req, who, strings.Split(groups, ",")...))
			}
			b := &ballot{plugin: &plugin{clock: &serverClock{}}, req: req, me: &tc.me}
			if got := b.count(p, votes); got != tc.want && (tc.want == "" || !strings.HasPrefix(got, tc.want)) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestEndSaysWhoMay(t *testing.T) {
	closed := builders.Policy("p").ApprovedBy(builders.Group("leads")).RevokedBy(builders.Group("security"), builders.User("zoe"))
	for name, tc := range map[string]struct {
		policy *v1alpha1.AccessPolicy
		me     v1alpha1.Identity
		want   string
	}{
		"a revoker":   {closed.Build(), v1alpha1.Identity{Username: "zoe"}, ""},
		"an approver": {closed.Build(), v1alpha1.Identity{Username: "bob", Groups: []string{"leads"}}, ""},
		"a revoker where nobody approves": {
			builders.Policy("p").RevokedBy(builders.User("zoe")).Build(), v1alpha1.Identity{Username: "zoe"}, "",
		},
		"a stranger": {
			closed.Build(),
			v1alpha1.Identity{Username: "eve"},
			"you (eve) are not among the approvers of policy p, who are 1 of group:leads, nor among its revokers, who are group:security or zoe",
		},
		"who is nearly an approver, by a group": {
			closed.Build(),
			v1alpha1.Identity{Username: "eve", Groups: []string{"Leads", "system:authenticated"}},
			"you (eve) are not among the approvers of policy p, who are 1 of group:leads, nor among its revokers, who are " +
				`group:security or zoe; your groups: "Leads"; Group "leads" differs from "Leads" only in case`,
		},
		"a stranger where nobody may but approvers": {
			builders.Policy("p").ApprovedBy(builders.Group("leads")).Build(),
			v1alpha1.Identity{Username: "eve"},
			"you (eve) are not among the approvers of policy p, who are 1 of group:leads",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := &ballot{plugin: &plugin{}, req: builders.Request("r").By("alice").Build(), me: &tc.me}
			for _, verdict := range []v1alpha1.Verdict{v1alpha1.VerdictDeny, v1alpha1.VerdictRevoke} {
				if got, doubt, err := b.end(t.Context(), tc.policy, verdict); got != tc.want || doubt != "" || err != nil {
					t.Errorf("got %q, %q, %v", got, doubt, err)
				}
			}
		})
	}
}

func TestWhoIsNearlyAnApproverIsToldSo(t *testing.T) {
	req := builders.Request("late").In("payments").By("alice").Build()
	p := builders.Policy("p").ApprovedBy(builders.User("Bob")).Build()
	b := &ballot{plugin: &plugin{}, req: req, me: &v1alpha1.Identity{Username: "bob", Groups: []string{"dev"}}}
	const want = `you (bob) are not among the approvers of policy p, which asks for 1 of Bob; your groups: "dev"; ` +
		`User "Bob" differs from "bob" only in case`
	if got := b.barred(p); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	req.Status.State = v1alpha1.StateActive
	if got := b.barred(p); got != "late is granted already" {
		t.Errorf("once it is granted: %q", got)
	}
}

func TestWhatIsOverIsSaidSoToWhoApprovesAndToWhoEnds(t *testing.T) {
	req := builders.Request("late").In("payments").By("alice").Build()
	req.Status.State = v1alpha1.StateReturned
	b := &ballot{plugin: &plugin{}, req: req, me: &v1alpha1.Identity{Username: "bob"}}
	for verdict, want := range map[v1alpha1.Verdict]string{
		v1alpha1.VerdictApprove: "late is over (Returned); nothing brings it back, ask for a new one",
		v1alpha1.VerdictDeny:    "late is over (Returned), and there is nothing left to end",
		v1alpha1.VerdictRevoke:  "late is over (Returned), and there is nothing left to end",
	} {
		if got, doubt, err := b.objection(t.Context(), verdict); got != want || doubt != "" || err != nil {
			t.Errorf("%s: got %q, %q, %v, want %q", verdict, got, doubt, err, want)
		}
	}
}

func TestWhoHasAnothersUIDIsToldSo(t *testing.T) {
	p := builders.Policy("p").ApprovedBy(builders.Group("leads"), builders.Group("leads")).Build()
	shared := p.DeepCopy()
	shared.Spec.UIDIsShared = true
	req := builders.Request("late").In("payments").By("alice").Build()
	req.UID, req.Spec.Requester.UID = "u", "1"
	zoe := *builders.Decision("zoe", req, v1alpha1.VerdictApprove)
	zoe.Spec.Reviewer = &v1alpha1.Identity{Username: "zoe", UID: "2", Groups: []string{"leads"}}
	ballotOf := func(username, uid string) *ballot {
		me := &v1alpha1.Identity{Username: username, UID: uid, Groups: []string{"leads"}}
		req.CreationTimestamp = metav1.NewTime(time.Now().Truncate(time.Second))
		return &ballot{plugin: &plugin{clock: &serverClock{}}, req: req, me: me}
	}
	if got := ballotOf("Alice", "1").barred(p); !strings.HasPrefix(got, "you (Alice) have the UID of who asked for it (alice)") {
		t.Errorf("the requester by another name: %q", got)
	}
	if got := ballotOf("Zoe", "2").count(p, []v1alpha1.AccessDecision{zoe}); !strings.HasPrefix(got, "zoe has your UID") {
		t.Errorf("who approved by another name: %q", got)
	}
	for username, uid := range map[string]string{"Alice": "1", "Zoe": "2"} {
		if got := ballotOf(username, uid).barred(shared); got != "" {
			t.Errorf("%s, where the UID is shared: %q", username, got)
		}
	}
	me := &v1alpha1.Identity{Username: "Zoe", UID: "2"}
	if got := sameUID(policy.CountedAs(&shared.Spec), me, []v1alpha1.AccessDecision{zoe}); got != "" {
		t.Errorf("where the UID is shared: %q", got)
	}
}
