// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

func TestCacheKnowsAPolicyByUIDAndGeneration(t *testing.T) {
	cache := NewCache(8)
	p := stored(offer("p").If("true", ""))
	first := cache.Compiled(p)
	edit := func(change func(*v1alpha1.AccessPolicy)) *v1alpha1.AccessPolicy {
		changed := p.DeepCopy()
		change(changed)
		return changed
	}
	for name, tc := range map[string]struct {
		policy *v1alpha1.AccessPolicy
		same   bool
	}{
		"the same":                {p.DeepCopy(), true},
		"another label":           {edit(func(p *v1alpha1.AccessPolicy) { p.Labels = map[string]string{"a": "b"} }), true},
		"another generation":      {edit(func(p *v1alpha1.AccessPolicy) { p.Generation++ }), false},
		"made again":              {edit(func(p *v1alpha1.AccessPolicy) { p.UID = "other" }), false},
		"never stored":            {edit(func(p *v1alpha1.AccessPolicy) { p.UID = "" }), false},
		"without a generation":    {edit(func(p *v1alpha1.AccessPolicy) { p.Generation = 0 }), false},
		"the same after all":      {p, true},
		"none is an empty policy": {nil, false},
	} {
		if got := cache.Compiled(tc.policy); (got == first) != tc.same || got == nil {
			t.Errorf("%s: same = %v, want %v", name, got == first, tc.same)
		}
	}
	for name, unstored := range map[string]*v1alpha1.AccessPolicy{
		"UID":        edit(func(p *v1alpha1.AccessPolicy) { p.UID = "" }),
		"generation": edit(func(p *v1alpha1.AccessPolicy) { p.Generation = 0 }),
	} {
		once, again := cache.Compiled(unstored), cache.Compiled(unstored)
		if once == again {
			t.Errorf("a policy without %s was remembered: any other would be taken for it", name)
		}
	}
}

func TestCacheRemembersFailures(t *testing.T) {
	cache := NewCache(8)
	p := stored(offer("p").If("nonsense", ""))
	if first := cache.Compiled(p); first != cache.Compiled(p) || len(first.problems) != 1 {
		t.Error("a policy that does not compile is compiled again")
	}
	if q := cache.Compiled(stored(offer("q").If("nonsense", ""))); q.conditions[0].program != cache.Compiled(p).conditions[0].program {
		t.Error("an expression that does not compile is compiled again")
	}
}

func TestCacheIsBounded(t *testing.T) {
	for size, want := range map[int]int{3: 3, 1: 1, 0: 1, -1: 1} {
		cache := NewCache(size)
		for i := range 40 {
			cache.Compiled(stored(offer(fmt.Sprint(i)).If(fmt.Sprintf("%d > 0", i), "")))
		}
		if cache.policies.Len() != want || cache.programs.Len() != want*programsPerPolicy {
			t.Errorf("size %d: %d policies and %d programs are kept", size, cache.policies.Len(), cache.programs.Len())
		}
		if cache.Compiled(stored(offer("39"))) == nil {
			t.Error("nothing was compiled")
		}
	}
	cache := NewCache(3)
	cache.Compiled(stored(offer("p").If(strings.Repeat(" ", maxExpression)+"true", "")))
	if cache.programs.Len() != 0 {
		t.Error("an expression of any length is kept")
	}
}

func TestCompiledIsSafeForConcurrentUse(t *testing.T) {
	cache := NewCache(2) // smaller than what is asked for
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				name := fmt.Sprint((i + j) % 3)
				c := cache.Compiled(stored(offer(name).If("request.spec.reason.startsWith('INC') && policy.name == '"+name+"'", "")))
				if d, err := Evaluate(inputOf(ask().Build()), []*Compiled{c}); err != nil || d.Verdict != Allowed {
					t.Errorf("verdict = %s, %v", d.Verdict, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestProblems(t *testing.T) {
	wild := func(v1alpha1.RoleRef) (Role, bool, error) {
		return Role{Rules: rulesOf([]string{"* * *", "bind core a", "bind core b", "bind core c"})}, true, nil
	}
	badSelector := `namespaces.selector: key: Invalid value: "-": name part must consist of alphanumeric characters, '-', '_' or '.', ` +
		`and must start and end with an alphanumeric character`
	for name, tc := range map[string]struct {
		policy buildable
		roles  RoleLookup
		want   []Problem // Message is how it begins
	}{
		"none": {offer("p"), existing("view"), nil},
		"a ClusterRole is missing": {
			offer("p").Allowing("view", "gone"), existing("view"), []Problem{{v1alpha1.ReasonRoleNotFound, `ClusterRole "gone" does not exist`}},
		},
		"a Role is missing, somewhere": {offer("p").AllowingRole("gone"), existing("view"), nil},
		"a dangerous role": {
			offer("p"), wild, []Problem{{v1alpha1.ReasonDangerousRole, `ClusterRole "view" is dangerous: it allows every verb (*) on *, ` +
				`it allows * on every resource (*), it allows bind on a, and 2 more; set allowDangerousRoles if that is meant`}},
		},
		"a dangerous role that is meant": {dangerously(offer("p")), wild, nil},
		"a dangerous role that does not exist": {offer("p").Allowing("cluster-admin"), existing(), []Problem{
			{v1alpha1.ReasonDangerousRole, `ClusterRole "cluster-admin" is dangerous: it may do everything; set allow`},
		}},
		"one that is meant does not exist": {dangerously(offer("p").Allowing("cluster-admin")), existing(), []Problem{
			{v1alpha1.ReasonRoleNotFound, `ClusterRole "cluster-admin" does not exist`},
		}},
		"a selector": {
			offer("p").Selecting("-", "x"), existing("view"), []Problem{{v1alpha1.ReasonInvalidSelector, badSelector}},
		},
		"all of them, in order": {
			offer("p").If("true", "").If("x", "").If("y", "").Selecting("-", "x").Allowing("gone"), existing(),
			[]Problem{
				{v1alpha1.ReasonInvalidExpression, "conditions[1]: 1:1: undeclared reference to 'x'"},
				{v1alpha1.ReasonInvalidExpression, "conditions[2]: "},
				{v1alpha1.ReasonInvalidSelector, badSelector},
				{v1alpha1.ReasonRoleNotFound, `ClusterRole "gone" does not exist`},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := Compile(stored(tc.policy))
			for range 2 { // asking changes nothing
				got, err := c.Problems(tc.roles)
				if err != nil || len(got) != len(tc.want) {
					t.Fatalf("problems = %q, %v, want %q", got, err, tc.want)
				}
				for i := range got {
					if got[i].Reason != tc.want[i].Reason || !strings.HasPrefix(got[i].Message, tc.want[i].Message) || len(got[i].Message) > maxProblem {
						t.Errorf("problem = %q, want %q", got[i], tc.want[i])
					}
				}
			}
		})
	}
	for name, roles := range map[string]RoleLookup{"failing": failing, "found, and failing": foundButFailing, "none": nil} {
		if got, err := Compile(stored(offer("p"))).Problems(roles); err == nil || !reflect.DeepEqual(got, []Problem(nil)) {
			t.Errorf("%s: problems = %q, %v, want an error", name, got, err)
		}
	}
}
