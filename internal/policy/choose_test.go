// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

func TestEvaluateChoosesFewestApprovalsThenName(t *testing.T) {
	lead := builders.Group("leads")
	twice := offer("a-two").ApprovedBy(lead).ApprovedBy(lead)
	once := offer("b-one").ApprovedBy(lead)
	none, alsoNone := offer("c-none"), offer("d-none")
	refusing := offer("a-refusing").If("false", "no")
	for name, tc := range map[string]struct {
		request  builders.RequestBuilder
		policies []buildable
		want     string
	}{
		"fewest approvals win":                   {ask(), []buildable{twice, once, none}, "c-none"},
		"then the first by name":                 {ask(), []buildable{alsoNone, none}, "c-none"},
		"one that objects never wins":            {ask(), []buildable{refusing, once, twice}, "b-one"},
		"policyName wins against fewer":          {ask().UnderPolicy("a-two"), []buildable{none, once, twice}, "a-two"},
		"counts are summed, not rules":           {ask(), []buildable{counted("a", 3), twice}, "a-two"},
		"a count below one counts as one":        {ask(), []buildable{counted("a", 0), alsoNone}, "d-none"},
		"a negative count does not make it less": {ask(), []buildable{counted("a", -5), alsoNone}, "d-none"},
	} {
		t.Run(name, func(t *testing.T) {
			compiled := compileAll(tc.policies...)
			for range 8 { // whatever the order
				rand.Shuffle(len(compiled), func(i, j int) { compiled[i], compiled[j] = compiled[j], compiled[i] })
				d, err := Evaluate(inputOf(tc.request.Build()), compiled)
				if err != nil || d.Verdict != Allowed || d.Policy.Name != tc.want {
					t.Fatalf("decision = %s by %+v, %v, want %s", d.Verdict, d.Policy, err, tc.want)
				}
			}
		})
	}
}

func counted(name string, count int32) buildable {
	b := offer(name).ApprovedBy(builders.Group("leads"))
	p := b.Build()
	p.Spec.Approvals[0].Count = count
	return ready{p}
}

func TestEvaluateChoosesByNameNotByUID(t *testing.T) {
	a, b := stored(offer("a")), stored(offer("b"))
	a.UID, b.UID = "2", "1"
	d, err := Evaluate(inputOf(ask().Build()), []*Compiled{Compile(b), Compile(a)})
	if err != nil || d.Policy.Name != "a" {
		t.Errorf("policy = %v, %v", d.Policy, err)
	}
}

func TestEvaluateTellsWhatThePolicyAsksFor(t *testing.T) {
	lead := builders.Group("leads")
	p := offer("p").ApprovedBy(lead)
	want := Decision{
		Verdict: Allowed, Duration: time.Hour, MaxDuration: 4 * time.Hour, ApprovalTimeout: time.Hour,
		Policy:    &v1alpha1.PolicyReference{Name: "p", UID: "uid-of-p", Generation: 1},
		Approvals: []v1alpha1.ApprovalRule{{From: []v1alpha1.Subject{lead}, Count: 1}},
		Role:      Role{Rules: readPods},
	}
	if d := judged(t, inputOf(ask().Build()), p, offer("near").From(builders.User("bob"))); !reflect.DeepEqual(d, want) {
		t.Errorf("decision = %+v, want %+v", d, want)
	}
	for name, tc := range map[string]struct{ set, want time.Duration }{
		"set": {10 * time.Minute, 10 * time.Minute}, "zero is the default": {0, time.Hour}, "negative is the default": {-1, time.Hour},
	} {
		if d := judged(t, inputOf(ask().Build()), p.WithinApprovalTimeout(tc.set)); d.ApprovalTimeout != tc.want {
			t.Errorf("%s: approvalTimeout = %s, want %s", name, d.ApprovalTimeout, tc.want)
		}
	}
}

func TestEvaluateKeepsNothingOfThePolicy(t *testing.T) {
	p := stored(offer("p").ApprovedBy(builders.Group("leads")))
	c := Compile(p)
	p.Spec.Approvals[0].Count, p.Spec.Roles[0].Name, p.Spec.Requesters[0].Name = 7, "edit", "mallory"
	d, err := Evaluate(inputOf(ask().Build()), []*Compiled{c})
	if err != nil || d.Verdict != Allowed || d.Approvals[0].Count != 1 {
		t.Errorf("decision = %+v, %v", d, err)
	}
}

func TestEvaluateLooksForRolesLast(t *testing.T) {
	wild := []rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"get"}}}
	book := func(ref v1alpha1.RoleRef) (Role, bool, error) {
		if ref.Name == "wild" {
			return Role{Rules: wild}, true, nil
		}
		return existing("view", "edit")(ref)
	}
	gone := v1alpha1.RoleRef{Kind: v1alpha1.ClusterRoleKind, Name: "gone"}
	goneHere := v1alpha1.RoleRef{Kind: v1alpha1.RoleKind, Name: "gone"}
	dangerous := `ClusterRole "wild" is dangerous: it allows get on every resource (*); the policy does not say allowDangerousRoles`
	for name, tc := range map[string]struct {
		request  builders.RequestBuilder
		policies []buildable
		want     Verdict
		missing  []v1alpha1.RoleRef
		message  string
	}{
		"the role that is asked for is missing": {
			ask().ForClusterRole("gone"),
			[]buildable{offer("p").Allowing("gone")},
			RoleMissing,
			[]v1alpha1.RoleRef{gone},
			`policy p would allow this, but ClusterRole "gone" does not exist; it is tried again`,
		},
		"the Role that is asked for is missing": {
			ask().ForRole("gone"),
			[]buildable{offer("p").AllowingRole("gone")},
			RoleMissing,
			[]v1alpha1.RoleRef{goneHere},
			`policy p would allow this, but Role "gone" does not exist; it is tried again`,
		},
		"another ClusterRole of the policy is missing": {
			ask(),
			[]buildable{offer("p").Allowing("view", "gone")},
			RoleMissing,
			[]v1alpha1.RoleRef{gone},
			`policy p would allow this, but ClusterRole "gone" does not exist; it is tried again`,
		},
		"the role that is asked for is named first": {
			ask().ForClusterRole("gone"),
			[]buildable{offer("p").Allowing("lost", "gone")},
			RoleMissing,
			[]v1alpha1.RoleRef{gone, {Kind: v1alpha1.ClusterRoleKind, Name: "lost"}},
			`policy p would allow this, but these roles do not exist: ClusterRole "gone", ClusterRole "lost"; it is tried again`,
		},
		"another Role of the policy is not asked after": {
			ask(), []buildable{offer("p").AllowingRole("gone")}, Allowed, nil, "policy p allows this for 1h",
		},
		"a policy that allows beats one that lacks a role": {
			ask(),
			[]buildable{offer("a").Allowing("view", "gone"), offer("b").ApprovedBy(builders.Group("leads"))},
			Allowed, nil,
			"policy b allows this for 1h once 1 person has approved",
		},
		"of two that lack a role the first by name is told": {
			ask(),
			[]buildable{offer("b").Allowing("view", "gone"), offer("a").Allowing("view", "gone")},
			RoleMissing,
			[]v1alpha1.RoleRef{gone},
			`policy a would allow this, but ClusterRole "gone" does not exist; it is tried again`,
		},
		"a missing role with another objection is a denial": {
			ask().ForClusterRole("gone"),
			[]buildable{offer("p").Allowing("gone").AtMost(time.Minute)},
			Denied, nil,
			"no policy allows this: policy p: duration 1h is longer than its maxDuration 1m",
		},
		"a dangerous role is refused": {
			ask().ForClusterRole("wild"), []buildable{offer("p").Allowing("wild")}, Denied, nil, "no policy allows this: policy p: " + dangerous,
		},
		"a dangerous role beside the one that is asked for is refused": {
			ask(), []buildable{offer("p").Allowing("view", "wild")}, Denied, nil, "no policy allows this: policy p: " + dangerous,
		},
		"a dangerous role with a missing one is a denial": {
			ask(), []buildable{offer("p").Allowing("view", "wild", "gone")}, Denied, nil, "no policy allows this: policy p: " + dangerous,
		},
		"a dangerous Role is refused": {
			ask().ForRole("wild"),
			[]buildable{offer("p").AllowingRole("wild")},
			Denied, nil,
			`no policy allows this: policy p: Role "wild" is dangerous: it allows get on every resource (*); ` +
				`the policy does not say allowDangerousRoles`,
		},
		"a dangerous role is allowed where the policy says so": {
			ask().ForClusterRole("wild"), []buildable{dangerously(offer("p").Allowing("wild"))}, Allowed, nil, "policy p allows this for 1h",
		},
		"a dangerous role is refused though it does not exist": {
			ask().ForClusterRole("system:gone"),
			[]buildable{offer("p").Allowing("system:gone")},
			Denied, nil,
			`no policy allows this: policy p: ClusterRole "system:gone" is dangerous: it belongs to Kubernetes itself (system:); ` +
				`the policy does not say allowDangerousRoles`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := inputOf(tc.request.Build())
			in.Roles = book
			d := judged(t, in, tc.policies...)
			if d.Verdict != tc.want || !reflect.DeepEqual(d.Missing, tc.missing) || d.Message() != tc.message {
				t.Errorf("decision = %s, missing %v, %q", d.Verdict, d.Missing, d.Message())
			}
			if d.Verdict == RoleMissing && (d.Policy == nil || d.Duration != time.Hour) {
				t.Errorf("policy = %v, duration = %s", d.Policy, d.Duration)
			}
		})
	}
}

func dangerously(b buildable) buildable {
	p := b.Build()
	p.Spec.AllowDangerousRoles = true
	return ready{p}
}

func TestEvaluateLooksRolesUpOnlyWhenNothingElseIsWrong(t *testing.T) {
	in := inputOf(ask().Build())
	in.Roles = unasked(t)
	for _, p := range []buildable{
		offer("p").AtMost(time.Minute), offer("p").If("false", ""), offer("p").If("nonsense", ""),
		offer("p").From(builders.User("bob")), builders.Policy("p"), offer("p").Allowing("edit"),
	} {
		judged(t, in, p)
	}
	judged(t, Input{Request: ask().NotAfter(noon).Build(), Namespace: in.Namespace, Now: noon, Limits: in.Limits, Roles: unasked(t)},
		offer("p"))

	looked := map[v1alpha1.RoleRef]int{}
	in.Roles = func(ref v1alpha1.RoleRef) (Role, bool, error) {
		looked[ref]++
		return Role{}, false, nil
	}
	many := make([]buildable, 0, 10)
	for i := range 10 {
		many = append(many, offer(fmt.Sprint(i)))
	}
	judged(t, in, many...)
	if ref := (v1alpha1.RoleRef{Kind: v1alpha1.ClusterRoleKind, Name: "view"}); len(looked) != 1 || looked[ref] != 1 {
		t.Errorf("looked up %v, want view once", looked)
	}
}
