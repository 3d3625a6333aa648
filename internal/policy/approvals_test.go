// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

var asked = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)

// askedBy is a request of somebody, made at noon.
func askedBy(username string, groups ...string) *v1alpha1.AccessRequest {
	req := builders.Request("debug").In("payments").By(username, groups...).Build()
	req.UID, req.CreationTimestamp = "u1", metav1.NewTime(asked)
	return req
}

// vote is an approval that somebody gave a minute after the request.
func vote(username string, groups ...string) v1alpha1.AccessDecision {
	d := *builders.Decision("by-"+username, askedBy("x"), v1alpha1.VerdictApprove)
	d.CreationTimestamp = metav1.NewTime(asked.Add(time.Minute))
	d.Spec.Reviewer = &v1alpha1.Identity{Username: username, Groups: groups}
	return d
}

func rules(rules ...v1alpha1.ApprovalRule) Decision {
	return Decision{Verdict: Allowed, Approvals: rules, ApprovalTimeout: time.Hour}
}

func from(count int32, subjects ...v1alpha1.Subject) v1alpha1.ApprovalRule {
	return v1alpha1.ApprovalRule{From: subjects, Count: count}
}

func shared(r ...v1alpha1.ApprovalRule) Decision {
	d := rules(r...)
	d.UIDIsShared = true
	return d
}

func selfish(r ...v1alpha1.ApprovalRule) Decision {
	d := rules(r...)
	d.AllowSelfApproval = true
	return d
}

func withUID(uid string, d v1alpha1.AccessDecision) v1alpha1.AccessDecision {
	d = *d.DeepCopy()
	d.Spec.Reviewer.UID = uid
	return d
}

func named(name string) func(*v1alpha1.AccessDecision) {
	return func(d *v1alpha1.AccessDecision) { d.Name = name }
}

func aliceWithUID() *v1alpha1.AccessRequest {
	req := askedBy("alice")
	req.Spec.Requester.UID = "7"
	return req
}

func TestCount(t *testing.T) {
	leads, security := builders.Group("leads"), builders.Group("security")
	two := rules(from(1, leads), from(1, security))
	self := two
	self.AllowSelfApproval = true
	bob, dave := vote("bob", "leads"), vote("dave", "security")
	forBob := askedBy("gitops")
	forBob.Spec.Subject = &v1alpha1.Subject{Kind: v1alpha1.UserKind, Name: "bob"}
	forLeads := askedBy("gitops")
	forLeads.Spec.Subject = &v1alpha1.Subject{Kind: v1alpha1.GroupKind, Name: "leads"}
	robot := builders.ServiceAccount("payments", "robot")
	robotVote := vote("system:serviceaccount:payments:robot", "system:serviceaccounts", "leads", "security")
	change := func(d v1alpha1.AccessDecision, change func(*v1alpha1.AccessDecision)) v1alpha1.AccessDecision {
		d = *d.DeepCopy()
		change(&d)
		return d
	}

	for name, tc := range map[string]struct {
		rules Decision
		req   *v1alpha1.AccessRequest
		votes []v1alpha1.AccessDecision
		want  string
	}{
		"no rules are met by nobody": {rules(), askedBy("alice"), nil, `approved`},
		"nobody votes":               {two, askedBy("alice"), nil, `waits for 1 of Group "leads", and 1 of Group "security"`},
		"one of two":                 {two, askedBy("alice"), votes(bob), `waits for 1 of Group "security"; approved by "bob"`},
		"two of two":                 {two, askedBy("alice"), votes(bob, dave), `approved; approved by "bob", "dave"`},
		"one person in both groups takes one seat": {
			two, askedBy("alice"), votes(vote("carol", "leads", "security")), `waits for 1 of Group "security"; approved by "carol"`,
		},
		"who may sit anywhere makes room": {
			two, askedBy("alice"), votes(change(vote("carol", "leads", "security"),
				func(d *v1alpha1.AccessDecision) { d.CreationTimestamp = metav1.NewTime(asked) }), bob), `approved; approved by "carol", "bob"`,
		},
		"the same person twice is one vote": {
			rules(from(2, leads)), askedBy("alice"),
			votes(bob, change(bob, func(d *v1alpha1.AccessDecision) { d.Name = "again" })), `waits for 1 of Group "leads"; approved by "bob"`,
		},
		"a third vote is not counted": {
			rules(from(1, leads)), askedBy("alice"), votes(bob, vote("carol", "leads")), `approved; approved by "bob"`,
		},
		"the requester does not count": {
			two, askedBy("bob", "leads"), votes(bob, dave), `waits for 1 of Group "leads"; approved by "dave"`,
		},
		"the requester counts if the policy says": {self, askedBy("bob", "leads"), votes(bob, dave), `approved; approved by "bob", "dave"`},
		"the grantee does not count":              {two, forBob, votes(bob, dave), `waits for 1 of Group "leads"; approved by "dave"`},
		"a member of the granted group does not":  {two, forLeads, votes(bob, dave), `waits for 1 of Group "leads"; approved by "dave"`},
		"a ServiceAccount by a group does not": {
			two, askedBy("alice"), votes(robotVote), `waits for 1 of Group "leads", and 1 of Group "security"`,
		},
		"a ServiceAccount by name counts": {
			rules(from(1, robot)), askedBy("alice"), votes(robotVote), `approved; approved by "system:serviceaccount:payments:robot"`,
		},
		"at the time limit is too late": {
			two, askedBy("alice"), votes(bob, change(dave, at(asked.Add(time.Hour)))), `waits for 1 of Group "security"; approved by "bob"`,
		},
		"one second before it is in time": {
			two, askedBy("alice"), votes(bob, change(dave, at(asked.Add(time.Hour-time.Second)))), `approved; approved by "bob", "dave"`,
		},
		"before the request does not count": {
			two, askedBy("alice"), votes(bob, change(dave, at(asked.Add(-time.Second)))), `waits for 1 of Group "security"; approved by "bob"`,
		},
		"another uid does not count": {
			two, askedBy("alice"), votes(bob,
				change(dave, func(d *v1alpha1.AccessDecision) { d.Spec.RequestRef.UID = "u2" })), `waits for 1 of Group "security"; approved by "bob"`,
		},
		"another name does not count": {two, askedBy("alice"), votes(bob, change(dave, func(d *v1alpha1.AccessDecision) {
			d.Spec.RequestRef.Name = "other"
		})), `waits for 1 of Group "security"; approved by "bob"`},
		"another namespace does not count": {
			two, askedBy("alice"), votes(bob,
				change(dave, func(d *v1alpha1.AccessDecision) { d.Namespace = "other" })), `waits for 1 of Group "security"; approved by "bob"`,
		},
		"no reviewer does not count": {
			two, askedBy("alice"), votes(bob,
				change(dave, func(d *v1alpha1.AccessDecision) { d.Spec.Reviewer = nil })), `waits for 1 of Group "security"; approved by "bob"`,
		},
		"a deny is no yes": {two, askedBy("alice"), votes(bob, change(dave, func(d *v1alpha1.AccessDecision) {
			d.Spec.Verdict = v1alpha1.VerdictDeny
		})), `waits for 1 of Group "security"; approved by "bob"`},
		"one that is being deleted does not count": {two, askedBy("alice"), votes(bob, change(dave, func(d *v1alpha1.AccessDecision) {
			d.DeletionTimestamp = &metav1.Time{Time: asked}
		})), `waits for 1 of Group "security"; approved by "bob"`},
		"two names with one UID are one person": {
			rules(from(2, leads)), askedBy("alice"), votes(withUID("7", bob), withUID("7", vote("Bob", "leads"))),
			`waits for 1 of Group "leads"; approved by "Bob"`,
		},
		"a name with two UIDs is one person": {
			rules(from(3, leads)), askedBy("alice"),
			votes(withUID("7", bob), withUID("7", vote("Bob", "leads")), withUID("8", change(vote("Bob", "leads"), named("again")))),
			`waits for 2 of Group "leads"; approved by "Bob"`,
		},
		"no UID is nobody's": {rules(from(2, leads)), askedBy("alice"), votes(bob, vote("Bob", "leads")), `approved; approved by "Bob", "bob"`},
		"a shared UID says nothing": {
			shared(from(2, leads)), askedBy("alice"),
			votes(withUID("7", bob), withUID("7", vote("Bob", "leads"))), `approved; approved by "Bob", "bob"`,
		},
		"the requester by another name": {
			rules(from(1, leads)), aliceWithUID(), votes(withUID("7", vote("Alice", "leads"))), `waits for 1 of Group "leads"`,
		},
		"the requester by another name, where that is allowed": {
			selfish(from(1, leads)), aliceWithUID(), votes(withUID("7", vote("Alice", "leads"))), `approved; approved by "Alice"`,
		},
		"another person with the requester's shared UID": {
			shared(from(1, leads)), aliceWithUID(), votes(withUID("7", vote("carol", "leads"))), `approved; approved by "carol"`,
		},
		"the requester, though the UID is shared": {
			shared(from(1, leads)), aliceWithUID(), votes(withUID("7", vote("alice", "leads"))), `waits for 1 of Group "leads"`,
		},
		"an empty name is nobody": {
			rules(from(1, v1alpha1.Subject{Kind: v1alpha1.UserKind})), askedBy("alice"), votes(vote("")), `waits for 1 of User ""`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			tally := tc.rules.Count(tc.req, tc.votes, asked.Add(tc.rules.ApprovalTimeout))
			if got := tally.Text(); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestMayEnd(t *testing.T) {
	robot := builders.ServiceAccount("siem", "robot")
	base := builders.Policy("p")
	secured := base.RevokedBy(builders.Group("security"), builders.User("zoe"), robot)
	for name, tc := range map[string]struct {
		policy builders.PolicyBuilder
		who    string
		groups []string
		want   bool
	}{
		"nobody, where nobody is named":   {base, "bob", []string{"leads"}, false},
		"an approver":                     {base.ApprovedBy(builders.User("bob")), "bob", nil, true},
		"a revoker by name":               {secured, "zoe", nil, true},
		"a revoker by a group":            {secured, "dave", []string{"security"}, true},
		"a revoker where others approve":  {secured.ApprovedBy(builders.User("bob")), "zoe", nil, true},
		"an approver where others revoke": {secured.ApprovedBy(builders.User("bob")), "bob", nil, true},
		"neither":                         {secured.ApprovedBy(builders.User("bob")), "eve", []string{"zoe"}, false},
		"a name in other letters":         {secured, "Zoe", nil, false},
		"a ServiceAccount by name":        {secured, "system:serviceaccount:siem:robot", nil, true},
		"a ServiceAccount by a group":     {secured, "system:serviceaccount:siem:other", []string{"security"}, false},
		"an empty name":                   {secured, "", []string{"security"}, false},
		"everybody, which no policy can mean": {
			base.RevokedBy(builders.Group("system:authenticated")), "eve", []string{"system:authenticated"}, false,
		},
		"a user of Kubernetes, whom no policy trusts": {base.RevokedBy(builders.User("system:anonymous")), "system:anonymous", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := MayEnd(&tc.policy.Build().Spec, &v1alpha1.Identity{Username: tc.who, Groups: tc.groups}); got != tc.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestARevokerIsNoApprover(t *testing.T) {
	p := builders.Policy("p").In("payments").ApprovedBy(builders.Group("leads")).RevokedBy(builders.Group("security")).Build()
	tally := rules(p.Spec.Approvals...).Count(askedBy("alice"), votes(vote("dave", "security")), asked.Add(time.Hour))
	if want := `waits for 1 of Group "leads"`; tally.Text() != want {
		t.Errorf("got  %s\nwant %s", tally.Text(), want)
	}
}

func TestCountIgnoresARequestWithoutUID(t *testing.T) {
	req := askedBy("alice")
	req.UID = ""
	d := vote("bob", "leads")
	d.Spec.RequestRef.UID = ""
	if rules(from(1, builders.Group("leads"))).Count(req, votes(d), asked.Add(time.Hour)).Met() {
		t.Error("an empty uid matched an empty uid")
	}
}

// The assignment never seats one person twice and never leaves a seat empty that a
// brute force search can fill.
func TestAssignFillsAsManySeatsAsThereIsAWayTo(t *testing.T) {
	groups := []string{"a", "b", "c"}
	for mask := range 1 << 9 { // three people, each in any of three groups
		people := make([]v1alpha1.AccessDecision, 0, 3)
		for i := range 3 {
			var of []string
			for g, group := range groups {
				if mask>>(3*i+g)&1 == 1 {
					of = append(of, group)
				}
			}
			people = append(people, vote(fmt.Sprint("p", i), of...))
		}
		d := rules(from(1, builders.Group("a")), from(1, builders.Group("b")), from(1, builders.Group("c")))
		got := len(d.Count(askedBy("alice"), people, asked.Add(time.Hour)).Counted)
		if want := most(people, groups); got != want {
			t.Fatalf("mask %09b: %d seats taken, %d could be", mask, got, want)
		}
	}
}

// most tries every order of people.
func most(people []v1alpha1.AccessDecision, seats []string) int {
	if len(seats) == 0 || len(people) == 0 {
		return 0
	}
	best := most(people, seats[1:]) // nobody sits here
	for i, p := range people {
		for _, g := range p.Spec.Reviewer.Groups {
			if g == seats[0] {
				rest := append(append([]v1alpha1.AccessDecision{}, people[:i]...), people[i+1:]...)
				best = max(best, 1+most(rest, seats[1:]))
			}
		}
	}
	return best
}

func votes(v ...v1alpha1.AccessDecision) []v1alpha1.AccessDecision { return v }

func at(when time.Time) func(*v1alpha1.AccessDecision) {
	return func(d *v1alpha1.AccessDecision) { d.CreationTimestamp = metav1.NewTime(when) }
}
