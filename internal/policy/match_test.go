// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

func TestPeopleInclude(t *testing.T) {
	few := peopleOf([]v1alpha1.Subject{builders.User("alice"), builders.Group("b")})
	many := peopleOf([]v1alpha1.Subject{builders.Group("a"), builders.Group("b"), builders.Group("c")})
	for name, tc := range map[string]struct {
		people people
		user   string
		groups sets.Set[string]
		want   bool
	}{
		"by name":                        {few, "alice", nil, true},
		"by one group of several":        {few, "bob", sets.New("a", "b", "c"), true},
		"by the only group":              {many, "bob", sets.New("b"), true},
		"by no group":                    {many, "bob", nil, false},
		"by another group":               {many, "bob", sets.New("d"), false},
		"nobody has no groups":           {few, "", sets.New("b"), false},
		"nobody is no empty user":        {people{users: sets.New("")}, "", nil, false},
		"the zero value includes nobody": {people{}, "alice", sets.New("b"), false},
		"an empty list includes nobody":  {peopleOf(nil), "alice", sets.New("", "b"), false},
		"an empty group is left out":     {peopleOf([]v1alpha1.Subject{builders.Group("")}), "alice", sets.New(""), false},
		"a group of Kubernetes is left out": {
			peopleOf([]v1alpha1.Subject{builders.Group("system:masters")}), "alice", sets.New("system:masters"), false,
		},
		"a group of Kubernetes may ask": {
			requestersOf([]v1alpha1.Subject{builders.Group("system:cattle:authenticated")}), "alice", sets.New("system:cattle:authenticated"), true,
		},
		"nobody who is not authenticated may": {
			requestersOf([]v1alpha1.Subject{builders.Group("system:unauthenticated")}), "alice", sets.New("system:unauthenticated"), false,
		},
		"a group in a namespace may not": {
			requestersOf([]v1alpha1.Subject{{Kind: "Group", Name: "system:x", Namespace: "x"}}), "alice", sets.New("system:x"), false,
		},
		"a User in a namespace is left out": {peopleOf([]v1alpha1.Subject{{Kind: "User", Name: "alice", Namespace: "x"}}), "alice", nil, false},
		"an account in no place is left out": {
			peopleOf([]v1alpha1.Subject{{Kind: "ServiceAccount", Name: "bot"}}), "system:serviceaccount::bot", nil, false,
		},
	} {
		if got := tc.people.include(tc.user, tc.groups); got != tc.want {
			t.Errorf("%s: include = %v, want %v", name, got, tc.want)
		}
	}
}

func TestWhoMayAskIsWhoPoliciesLetAsk(t *testing.T) {
	spec := builders.Policy("p").From(builders.User("alice"), builders.Group("system:authenticated")).Build().Spec
	for name, want := range map[string]bool{"alice": true, "bob": false, "": false} {
		if got := MayAsk(&spec, &v1alpha1.Identity{Username: name, Groups: []string{"oncall"}}); got != want {
			t.Errorf("%q may ask: %t", name, got)
		}
	}
	if !MayAsk(&spec, &v1alpha1.Identity{Username: "bob", Groups: []string{"system:authenticated"}}) {
		t.Error("all who log in may ask, but bob")
	}
}

func TestTerritoryOfNothing(t *testing.T) {
	named, err := territoryOf(v1alpha1.NamespaceMatch{Names: []string{""}})
	if err != nil || named.includes(builders.Namespace("")) || named.includes(nil) {
		t.Errorf("an empty name includes a namespace without a name, %v", err)
	}
	labelled, err := territoryOf(builders.Policy("p").Selecting("team", "x").Build().Spec.Namespaces)
	if err != nil || labelled.includes(nil) || labelled.includes(builders.Namespace("", "team", "x")) ||
		!labelled.includes(builders.Namespace("a", "team", "x")) {
		t.Errorf("a selector includes what is no namespace, %v", err)
	}
	if (territory{}).includes(builders.Namespace("a")) {
		t.Error("the zero value includes a namespace")
	}
}

func TestReservedNamespaces(t *testing.T) {
	for flag, want := range map[string][]string{
		"": nil, " , ": nil, DefaultReserved: {"kube-*"}, "kube-system, vault-*,": {"kube-system", "vault-*"},
	} {
		if got := ReservedNamespaces(flag); !slices.Equal(got, want) {
			t.Errorf("ReservedNamespaces(%q) = %q, want %q", flag, got, want)
		}
	}
}

func TestReservedBy(t *testing.T) {
	for namespace, want := range map[string]string{
		"kube-system": "kube-*", "kube-": "kube-*", "kube": "", "kubernetes": "", "my-kube-system": "",
		"lapse-system": "lapse-system", "lapse-system-2": "", "lapse": "", "": "", "all": "",
	} {
		if got := reservedBy([]string{"", "kube-*", "lapse-system"}, namespace); got != want {
			t.Errorf("reservedBy(%q) = %q, want %q", namespace, got, want)
		}
	}
	if reservedBy([]string{"*"}, "any") != "*" || reservedBy(nil, "any") != "" {
		t.Error("a star does not reserve everything, or nothing does")
	}
}

func TestNewServiceAccountsAreARisk(t *testing.T) {
	p := offer("p").WhileHeld(v1alpha1.WhileHeldNoNewPower).Build()
	if got := RisksOfPeople(p); !slices.Equal(got, []string{newAccounts}) {
		t.Errorf("got %q", got)
	}
	p.Spec.WhileHeld = v1alpha1.WhileHeldStrict
	if got := RisksOfPeople(p); len(got) > 0 {
		t.Errorf("got %q of a strict policy", got)
	}
}

func TestAccessForOthersThatNobodyApprovesIsARisk(t *testing.T) {
	alone := offer("p").To(builders.User("bob"))
	if got := RisksOfPeople(alone.Build()); !slices.Equal(got, []string{othersAlone}) {
		t.Errorf("got %q", got)
	}
	if got, err := Told(alone.Build(), nil, lookupOf(nil)); err != nil || !slices.Equal(got, []string{othersAlone}) {
		t.Errorf("status says %q, %v", got, err)
	}
	for name, b := range map[string]builders.PolicyBuilder{
		"that somebody approves": alone.ApprovedBy(builders.Group("leads")), "for oneself": offer("p"),
	} {
		if got := RisksOfPeople(b.Build()); len(got) > 0 {
			t.Errorf("access %s: got %q", name, got)
		}
	}
}

func TestASharedUIDIsARiskWhereSomebodyApproves(t *testing.T) {
	shared := offer("p").SharingUIDs()
	approved := shared.ApprovedBy(builders.Group("leads")).Build()
	if got := RisksOfPeople(approved); !slices.Equal(got, []string{sharedUID}) {
		t.Errorf("got %q", got)
	}
	if got, err := Told(approved, nil, lookupOf(nil)); err != nil || !slices.Equal(got, []string{sharedUID}) {
		t.Errorf("status says %q, %v", got, err)
	}
	for name, b := range map[string]builders.PolicyBuilder{
		"without approvals": shared, "with UIDs of each": offer("p").ApprovedBy(builders.Group("leads")),
	} {
		if got := RisksOfPeople(b.Build()); len(got) > 0 {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

func TestGroupsThatOthersFillAreARisk(t *testing.T) {
	p := offer("p").From(builders.Group("oncall"), builders.User("system:admin"), builders.Group("system:authenticated"),
		builders.Group("system:cattle:authenticated"), builders.Group("system:unauthenticated")).Build()
	want := []string{
		`requesters: whoever logs in may ask, ServiceAccounts included (Group "system:authenticated")`,
		`requesters: whoever is in Group "system:cattle:authenticated" may ask; Kubernetes or a provider fills it, perhaps with all who log in`,
	}
	if got := RisksOfPeople(p); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
