// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/component-helpers/auth/rbac/validation"
)

// What random roles and random calls are made of. Names and paths nest, and some words of
// calls are those that stand for others in rules.
var (
	someVerbs     = []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "impersonate", "*"}
	hiddenVerbs   = []string{"bind", "escalate", "use"}
	someGroups    = []string{"", "apps", "batch", "example.com", "*"}
	someResources = []string{
		"pods", "pods/log", "pods/exec", "deployments", "deployments/scale", "statefulsets/scale", "configmaps", "*/scale", "pods/*", "*",
	}
	someNames = []string{"a", "b", "checkout"}
	somePaths = []string{"/healthz", "/healthz/ping", "/healthz*", "/healthz/*", "/logs/a", "/logs/*", "*", "/"}
)

func pick(random *rand.Rand, words []string, atMost int) []string {
	out := make([]string, 1+random.IntN(atMost))
	for i := range out {
		out[i] = words[random.IntN(len(words))]
	}
	return out
}

func randomRules(random *rand.Rand) []rbacv1.PolicyRule {
	var rules []rbacv1.PolicyRule
	for range random.IntN(6) {
		if random.IntN(5) == 0 {
			rules = append(rules, rbacv1.PolicyRule{Verbs: pick(random, someVerbs, 2), NonResourceURLs: pick(random, somePaths, 2)})
			continue
		}
		rule := rbacv1.PolicyRule{
			Verbs:     pick(random, append(slices.Clone(someVerbs), hiddenVerbs...), 4),
			APIGroups: pick(random, someGroups, 2), Resources: pick(random, someResources, 4),
		}
		if random.IntN(3) == 0 {
			rule.ResourceNames = pick(random, someNames, 2)
		}
		rules = append(rules, rule)
	}
	return rules
}

func randomUse(random *rand.Rand) use {
	verb := someVerbs[random.IntN(len(someVerbs))]
	if random.IntN(5) == 0 {
		return use{verb: verb, path: somePaths[random.IntN(len(somePaths))]}
	}
	u := use{verb: verb, group: someGroups[random.IntN(len(someGroups))], resource: someResources[random.IntN(len(someResources))]}
	if random.IntN(2) == 0 {
		u.name = append(someNames, "another")[random.IntN(len(someNames)+1)]
	}
	return u
}

// rbacAllows is written after the authorizer of kube-apiserver, which does not use
// validation.Covers: RuleAllows of plugin/pkg/auth/authorizer/rbac, and pkg/apis/rbac/v1.
func rbacAllows(rules []rbacv1.PolicyRule, u use) bool {
	has := func(words []string, all, word string) bool {
		return slices.Contains(words, all) || slices.Contains(words, word)
	}
	return slices.ContainsFunc(rules, func(r rbacv1.PolicyRule) bool {
		if !has(r.Verbs, rbacv1.VerbAll, u.verb) {
			return false
		}
		if u.path != "" {
			return slices.ContainsFunc(r.NonResourceURLs, func(url string) bool {
				return url == rbacv1.NonResourceAll || url == u.path ||
					strings.HasSuffix(url, "*") && strings.HasPrefix(u.path, strings.TrimRight(url, "*"))
			})
		}
		_, sub, isSub := strings.Cut(u.resource, "/")
		return has(r.APIGroups, rbacv1.APIGroupAll, u.group) &&
			(has(r.Resources, rbacv1.ResourceAll, u.resource) || isSub && slices.Contains(r.Resources, "*/"+sub)) &&
			(len(r.ResourceNames) == 0 || slices.Contains(r.ResourceNames, u.name))
	})
}

func TestASmallerRoleAllowsEachCallAndNothingNew(t *testing.T) {
	random := rand.New(rand.NewPCG(19, 5)) //nolint:gosec // the same each time
	smaller, tried := 0, 0
	for range 6000 {
		old := randomRules(random)
		uses := randomUses(random, old)
		suggested := narrowed(old, uses)
		for _, u := range uses {
			tried++
			if !rbacAllows(suggested, u) || !allow(suggested, u.rule()) {
				t.Fatalf("of %+v, used by %+v, is suggested %+v, which does not allow %+v", old, uses, suggested, u)
			}
		}
		if within, beyond := validation.Covers(old, suggested); !within {
			t.Fatalf("of %+v, used by %+v, is suggested %+v, which allows more: %+v", old, uses, suggested, beyond)
		}
		mustAddNothing(t, random, old, suggested)
		mustBeNeeded(t, old, suggested, uses)
		if within, _ := validation.Covers(suggested, old); !within {
			smaller++
		}
	}
	if tried < 2000 || smaller < 2000 {
		t.Errorf("of %d calls and %d smaller roles there is too little to learn", tried, smaller)
	}
}

// randomUses are calls that rules allow.
func randomUses(random *rand.Rand, rules []rbacv1.PolicyRule) (uses []use) {
	for range random.IntN(12) {
		if u := randomUse(random); rbacAllows(rules, u) {
			uses = append(uses, u)
		}
	}
	return uses
}

// mustAddNothing fails if a call is found that is allowed by what is suggested alone.
func mustAddNothing(t *testing.T, random *rand.Rand, old, suggested []rbacv1.PolicyRule) {
	t.Helper()
	for range 50 {
		if u := randomUse(random); rbacAllows(suggested, u) && !rbacAllows(old, u) {
			t.Fatalf("of %+v is suggested %+v, which alone allows %+v", old, suggested, u)
		}
	}
}

// mustBeNeeded fails if a rule of one word each is suggested that no use needs.
func mustBeNeeded(t *testing.T, old, suggested []rbacv1.PolicyRule, uses []use) {
	t.Helper()
	for _, rule := range suggested {
		for _, atom := range validation.BreakdownRule(rule) {
			needed := slices.ContainsFunc(uses, func(u use) bool { return allow([]rbacv1.PolicyRule{atom}, u.rule()) })
			if !needed && !allow(untold(old), atom) {
				t.Fatalf("of %+v, used by %+v, is suggested %+v, of which nothing used %+v", old, uses, suggested, atom)
			}
		}
	}
}

// rules from lines: verbs, group, resources and names, or verbs and paths.
func rules(lines ...string) []rbacv1.PolicyRule {
	out := make([]rbacv1.PolicyRule, 0, len(lines))
	for _, line := range lines {
		words := strings.Fields(line)
		list := func(i int) []string {
			if i >= len(words) {
				return nil
			}
			return strings.Split(strings.ReplaceAll(words[i], "core", ""), ",")
		}
		if strings.HasPrefix(words[1], "/") {
			out = append(out, rbacv1.PolicyRule{Verbs: list(0), NonResourceURLs: list(1)})
			continue
		}
		out = append(out, rbacv1.PolicyRule{Verbs: list(0), APIGroups: list(1), Resources: list(2), ResourceNames: list(3)})
	}
	return out
}

// lines are rules as they are written for rules.
func lines(rules []rbacv1.PolicyRule) string {
	out := make([]string, 0, len(rules))
	for _, r := range rules {
		line := strings.Join(r.Verbs, ",")
		if len(r.APIGroups) > 0 {
			line += " " + cmp.Or(strings.Join(r.APIGroups, ","), "core")
		}
		for _, words := range [][]string{r.Resources, r.ResourceNames, r.NonResourceURLs} {
			if len(words) > 0 {
				line += " " + strings.Join(words, ",")
			}
		}
		out = append(out, line)
	}
	return strings.Join(out, "; ")
}

func TestASmallerRoleReadsLikeOneOfAPerson(t *testing.T) {
	get := func(resource, name string) Call { return Call{Verb: "get", Resource: resource, Name: name} }
	do := func(verb, resource, name string) Call { return Call{Verb: verb, Resource: resource, Name: name} }
	for name, tc := range map[string]struct {
		old   []rbacv1.PolicyRule
		calls []Call
		want  string
	}{
		"nothing": {rules("get core pods"), nil, ""},
		"* of each sort is what was seen": {
			rules("* * *"),
			[]Call{do("list", "pods", ""), get("pods", "a"), get("deployments.apps", "b"), do("patch", "deployments.apps/scale", "b")},
			"get,list core pods; get apps deployments; patch apps deployments/scale",
		},
		"a subresource of anything": {
			rules("get,update * */scale"),
			[]Call{get("deployments.apps/scale", "a"), get("statefulsets.apps/scale", "a")},
			"get apps deployments/scale,statefulsets/scale",
		},
		"pods are not their logs": {
			rules("get core pods,pods/log"), []Call{get("pods/log", "a")}, "get core pods/log",
		},
		"names that were listed stay names": {
			rules("get,delete core secrets a,b,c"), []Call{get("secrets", "c"), get("secrets", "a")}, "get core secrets a,c",
		},
		"names that nobody listed do not become some": {
			rules("get core pods"), []Call{get("pods", "checkout-5f7d8"), get("pods", "checkout-9c2b1")}, "get core pods",
		},
		"a name that another rule does not ask for": {
			rules("get core secrets a", "get core secrets"), []Call{get("secrets", "a"), get("secrets", "b")}, "get core secrets",
		},
		"a list of one by a field": {
			rules("list,watch core pods a"), []Call{do("list", "pods", "a")}, "list core pods a",
		},
		"the name of what is made comes from its body": {
			rules("create core configmaps"), []Call{do("create", "configmaps", "rates")}, "create core configmaps",
		},
		"so a rule with names did not allow that": {
			rules("create core configmaps rates"), []Call{do("create", "configmaps", "rates")}, "",
		},
		"a call into a pod has its name": {
			rules("create core pods/exec checkout"), []Call{do("create", "pods/exec", "checkout")}, "create core pods/exec checkout",
		},
		"a session over WebSocket is logged as get, and takes create besides": {
			rules("get,create,delete core pods/exec"),
			[]Call{{Verb: "get", Resource: "pods/exec", Name: "checkout", Code: 101}},
			"create,get core pods/exec",
		},
		"to apply what is not there takes create": {
			rules("create,patch,delete core configmaps"),
			[]Call{{Verb: "patch", Resource: "configmaps", Name: "a", Code: 201}},
			"create,patch core configmaps",
		},
		"to apply what is there does not": {
			rules("create,patch,delete core configmaps"),
			[]Call{{Verb: "patch", Resource: "configmaps", Name: "a", Code: 200}},
			"patch core configmaps",
		},
		"paths": {
			rules("get,post /healthz/*,/logs"), []Call{get("/healthz/ping", ""), get("/logs", "")}, "get /healthz/ping,/logs",
		},
		"what no log tells stays": {
			rules("get,bind,escalate rbac.authorization.k8s.io roles", "use policy podsecuritypolicies x"), nil,
			"use policy podsecuritypolicies x; bind,escalate rbac.authorization.k8s.io roles",
		},
	} {
		var uses []use
		for _, c := range tc.calls {
			uses = append(uses, c.uses()...)
		}
		if got := lines(narrowed(tc.old, uses)); got != tc.want {
			t.Errorf("%s: %s\nwant %s", name, got, tc.want)
		}
	}
}

func TestWhatWasNotUsedOfARuleIsNamed(t *testing.T) {
	seen := map[use]int{
		{verb: "get", resource: "pods"}: 2, {verb: "get", group: "apps", resource: "deployments/scale"}: 1,
		{verb: "get", resource: "secrets", name: "a"}: 3,
	}
	for rule, want := range map[string]RuleUse{
		"get,list core pods,services": {Calls: 2, Unused: rbacv1.PolicyRule{Verbs: []string{"list"}, Resources: []string{"services"}}},
		"get core,apps pods,*/scale":  {Calls: 3},
		"get core secrets a,b":        {Calls: 3, Unused: rbacv1.PolicyRule{ResourceNames: []string{"b"}}},
		"delete core pods":            {Unused: rules("delete core pods")[0]},
		"get /healthz":                {Unused: rules("get /healthz")[0]},
		"* * *":                       {Calls: 6},
	} {
		got := usesOf(rules(rule), seen)[0]
		if want.Rule = got.Rule; !equality.Semantic.DeepEqual(got, want) {
			t.Errorf("%q: %+v\nwant %+v", rule, got, want)
		}
	}
}
