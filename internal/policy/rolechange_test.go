// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

func role(uid string, rules ...string) Role {
	return Role{UID: types.UID("uid-" + uid), Rules: rulesOf(rules)}
}

func TestCompareRole(t *testing.T) {
	const more = `ClusterRole "r" changed: it allows more than when access was given: `
	paths := func(verbs ...string) Role {
		return Role{UID: "uid-", Rules: []rbacv1.PolicyRule{{Verbs: verbs, NonResourceURLs: []string{"/metrics", "/logs/*"}}}}
	}
	for name, tc := range map[string]struct {
		old, now Role
		gone     bool
		reason   string
		message  string
	}{
		"the same": {old: role("", "get core pods"), now: role("", "get core pods")},
		"other order of rules": {
			old: role("", "get core pods", "list apps deployments"), now: role("", "list apps deployments", "get core pods"),
		},
		"other order of words": {
			old: role("", "get,list core,apps pods,jobs a,b"), now: role("", "list,get apps,core jobs,pods b,a"),
		},
		"a word twice":                    {old: role("", "get core pods"), now: role("", "get,get core pods", "get core pods")},
		"said in two rules":               {old: role("", "get,list core pods"), now: role("", "get core pods", "list core pods")},
		"said in one rule":                {old: role("", "get core pods", "list core pods"), now: role("", "get,list core pods")},
		"a rule without verbs":            {old: role("", "get core pods"), now: role("", "get core pods", "- core secrets")},
		"a rule less":                     {old: role("", "get core pods", "get core secrets"), now: role("", "get core pods")},
		"a verb less":                     {old: role("", "get,list core pods"), now: role("", "get core pods")},
		"confined to a name":              {old: role("", "get core secrets"), now: role("", "get core secrets a")},
		"what a wildcard allowed":         {old: role("", "* * *"), now: role("", "get core secrets", "create core pods/exec")},
		"a subresource of all, spelt out": {old: role("", "get core */exec"), now: role("", "get core pods/exec")},
		"nothing at all any more":         {old: role("", "get core pods"), now: role("")},
		"paths, fewer":                    {old: paths("get", "post"), now: paths("get")},
		"a verb more": {
			role("", "get core pods"), role("", "get,delete core pods"), false, v1alpha1.ReasonRoleGrew, more + "delete on pods",
		},
		"a rule more": {
			role("", "get core pods"), role("", "get core pods", "list,get core secrets"), false,
			v1alpha1.ReasonRoleGrew, more + "get, list on secrets",
		},
		"from nothing": {role(""), role("", "get core pods"), false, v1alpha1.ReasonRoleGrew, more + "get on pods"},
		"another group": {
			role("", "get apps deployments"), role("", "get apps,batch deployments"), false,
			v1alpha1.ReasonRoleGrew, more + "get on deployments.batch",
		},
		"not confined to a name any more": {
			role("", "get core secrets a"), role("", "get core secrets"), false, v1alpha1.ReasonRoleGrew, more + "get on secrets",
		},
		"another name": {
			role("", "get core secrets a"), role("", "get core secrets a,b"), false, v1alpha1.ReasonRoleGrew, more + `get on secrets (only "b")`,
		},
		"a subresource": {
			role("", "get core pods"), role("", "get core pods,pods/log"), false, v1alpha1.ReasonRoleGrew, more + "get on pods/log",
		},
		"every verb": {
			role("", "get core pods"), role("", "* core pods"), false, v1alpha1.ReasonRoleGrew, more + "* on pods",
		},
		"every resource": {
			role("", "get core pods"), role("", "get core *"), false, v1alpha1.ReasonRoleGrew, more + "get on *",
		},
		"more here and less there": {
			role("", "get core pods"), role("", "get core services"), false, v1alpha1.ReasonRoleGrew, more + "get on services",
		},
		"a path": {
			paths("get"), paths("get", "post"), false, v1alpha1.ReasonRoleGrew, more + "post on /logs/*; post on /metrics",
		},
		"dangers and risks come first": {
			role("", "get core pods"), role("", "get core a,b,secrets", "bind core zz"), false,
			v1alpha1.ReasonRoleGrew, more + "bind on zz; get on secrets; get on a; get on b",
		},
		"a word that breaks the lines": {role(""), role("", "get core a\u202eb"), false, v1alpha1.ReasonRoleGrew, more + `get on a\u202eb`},
		"deleted": {
			role("", "get core pods"),
			Role{},
			true, v1alpha1.ReasonRoleDeleted,
			`ClusterRole "r" was deleted: access gives nothing until there is one of that name, and then what that allows`,
		},
		"created again, the same": {
			role("", "get core pods"), role("2", "get core pods"), false, v1alpha1.ReasonRoleReplaced,
			`ClusterRole "r" was deleted and created again: it allows nothing that it did not allow when access was given`,
		},
		"created again, with less": {
			role("", "get core pods"), role("2"), false, v1alpha1.ReasonRoleReplaced,
			`ClusterRole "r" was deleted and created again: it allows nothing that it did not allow when access was given`,
		},
		"created again, with more": {
			role("", "get core pods"), role("2", "get,list core pods"), false, v1alpha1.ReasonRoleReplaced,
			`ClusterRole "r" was deleted and created again: it allows more than when access was given: list on pods`,
		},
		"what was never valid is no change": {old: role("", "get - pods"), now: role("", "get - pods,secrets")},
	} {
		t.Run(name, func(t *testing.T) {
			got := CompareRole(clusterRole("r"), tc.old.Record(), tc.now, !tc.gone)
			if got.Reason != tc.reason || got.Message != tc.message || got.Revokes {
				t.Errorf("change = %+v, want %s: %s", got, tc.reason, tc.message)
			}
		})
	}
}

func TestDigestIsThatOfTheRulesAndNotOfTheirOrder(t *testing.T) {
	want := role("", "get,list core,apps pods,jobs a,b", "watch core nodes").Digest()
	for _, same := range []Role{
		role("", "watch core nodes", "get,list core,apps pods,jobs a,b"),
		role("", "list,get,get apps,core jobs,pods b,a", "watch core nodes", "watch core nodes"),
		role("another", "get,list core,apps pods,jobs a,b", "watch core nodes"),
	} {
		if same.Digest() != want || same.Record().Digest != want {
			t.Errorf("the digest of %+v is another", same.Rules)
		}
	}
	for _, other := range []Role{
		role(""), role("", "get,list core,apps pods,jobs a,b"), role("", "get,list core,apps pods,jobs a", "watch core nodes"),
		role("", "get,list core,apps pods,jobs a,b", "watch core - nodes"), role("", "get,list core,apps pods,jobs a,b", "watch,core - nodes"),
	} {
		if other.Digest() == want {
			t.Errorf("the digest of %+v is the same", other.Rules)
		}
	}
}

// BenchmarkRecord is what keeping a role costs a grant, at twice the rules of admin of
// Kubernetes.
func BenchmarkRecord(b *testing.B) {
	lines := make([]string, 0, 60)
	for _, word := range numbered(60) {
		lines = append(lines, "create,delete,deletecollection,get,list,patch,update,watch "+word+".example.com "+word+"s,"+word+"s/status,"+word+
			"s/scale")
	}
	r := role("", lines...)
	b.ReportAllocs()
	for b.Loop() {
		b.ReportMetric(float64(len(r.Record().Rules)), "stored-bytes")
	}
}

func TestNewRulesAreNamedWithinBounds(t *testing.T) {
	many := make([]string, 0, 100)
	for i := range 100 {
		many = append(many, fmt.Sprintf("get core r%03d", i))
	}
	got := CompareRole(clusterRole("r"), role("").Record(), role("", append(many, "create core pods/exec")...), true).Message
	if !strings.HasPrefix(got, `ClusterRole "r" changed: it allows more than when access was given: create on pods/exec; get on r000; `) ||
		!strings.HasSuffix(got, "; and 85 more") {
		t.Errorf("message = %q", got)
	}
	long := role("", "get core "+strings.Repeat("x", 100_000))
	if got := CompareRole(clusterRole("r"), role("").Record(), long, true); len(got.Message) > 1024 || got.Reason != v1alpha1.ReasonRoleGrew {
		t.Errorf("a message of %d bytes, reason %q", len(got.Message), got.Reason)
	}
}

// numbered are n words that do not compress well.
func numbered(n int) []string {
	out := make([]string, 0, n)
	for i := range n {
		out = append(out, fmt.Sprintf("%x", (i+1)*2654435761))
	}
	return out
}

func TestRulesThatCannotBeComparedCountAsMore(t *testing.T) {
	large := Role{UID: "uid-", Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: numbered(5000)}}}
	if large.Record().Rules != nil {
		t.Fatalf("%d bytes of rules are kept", len(large.Record().Rules))
	}
	small := role("", "get core pods")
	forged := small.Record()
	forged.Digest = role("", "get core secrets").Digest()
	broken := small.Record()
	broken.Rules = broken.Rules[:10]
	costly := Role{UID: "uid-", Rules: []rbacv1.PolicyRule{
		{Verbs: numbered(3000), APIGroups: numbered(3000), Resources: numbered(3000), ResourceNames: numbered(3000)},
	}}
	paths := Role{UID: "uid-", Rules: []rbacv1.PolicyRule{{Verbs: numbered(3000), NonResourceURLs: numbered(3000)}}}
	for name, tc := range map[string]struct {
		granted *v1alpha1.GrantedRole
		now     Role
		want    string
	}{
		"too large to be kept":               {large.Record(), Role{UID: "uid-", Rules: large.Rules[:0]}, "too large to be kept"},
		"rules of another digest":            {forged, role("", "get core services"), "do not belong to its digest"},
		"rules that cannot be read":          {broken, role("", "get core services"), "reading the rules of the grant"},
		"rules that are a bomb":              {bomb(t), small, "do not belong to its digest"},
		"new ones that are millions":         {small.Record(), costly, "too large to be compared"},
		"new ones on paths that are many":    {small.Record(), paths, "too large to be compared"},
		"too large to be kept, and replaced": {large.Record(), role("2"), "too large to be kept"},
	} {
		t.Run(name, func(t *testing.T) {
			got := CompareRole(clusterRole("r"), tc.granted, tc.now, true)
			if got.Reason == "" || !strings.Contains(got.Message, tc.want) || !strings.Contains(got.Message, "counts as more") {
				t.Errorf("change = %+v", got)
			}
		})
	}
	if got := CompareRole(clusterRole("r"), large.Record(), large, true); got.Reason != "" {
		t.Errorf("the same is %+v", got)
	}
}

// bomb is a record whose rules are gigabytes.
func bomb(t *testing.T) *v1alpha1.GrantedRole {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	for range 64 {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &v1alpha1.GrantedRole{UID: "uid-", Digest: strings.Repeat("0", 64), Rules: out.Bytes()}
}

func TestARecordHasRoomForTheRolesOfKubernetes(t *testing.T) {
	// More than admin of Kubernetes 1.37.2, which has 29 rules of 251 words.
	lines := make([]string, 0, 60)
	for i, word := range numbered(60) {
		lines = append(lines, fmt.Sprintf("create,delete,deletecollection,get,list,patch,update,watch %s.example.com %ss,%ss/status,%ss/scale%d",
			word, word, word, word, i))
	}
	record := role("", lines...).Record()
	if n := len(record.Rules); n == 0 || n > maxStoredRules {
		t.Errorf("%d bytes of rules are kept", n)
	}
	if rules, err := GrantedRules(record); err != nil || len(rules) != len(lines) {
		t.Errorf("%d rules are read back, %v", len(rules), err)
	}
}

// FuzzCompareRole looks for rules that crash, and for a role that differs from itself.
func FuzzCompareRole(f *testing.F) {
	f.Add("get,list", "", "pods,secrets", "a", "*", "apps", "*/scale", "")
	f.Fuzz(func(t *testing.T, verbs, groups, resources, names, verbs2, groups2, resources2, names2 string) {
		// A role comes as JSON, which has no other characters.
		words := func(s string) []string { return strings.Split(strings.ToValidUTF8(s, "\uFFFD"), ",") }
		one := rbacv1.PolicyRule{Verbs: words(verbs), APIGroups: words(groups), Resources: words(resources), ResourceNames: words(names)}
		two := rbacv1.PolicyRule{Verbs: words(verbs2), APIGroups: words(groups2), Resources: words(resources2), ResourceNames: words(names2)}
		both, turned := Role{Rules: []rbacv1.PolicyRule{one, two}}, Role{Rules: []rbacv1.PolicyRule{two, one}}
		if got := CompareRole(clusterRole("r"), both.Record(), turned, true); got.Reason != "" {
			t.Errorf("the same rules differ: %+v", got)
		}
		if got := CompareRole(clusterRole("r"), both.Record(), Role{Rules: []rbacv1.PolicyRule{one}}, true); got.Reason != "" {
			t.Errorf("fewer rules are more: %+v", got)
		}
	})
}

func TestAnActionThatIsNotKnownIsTheStricter(t *testing.T) {
	for action, revokes := range map[v1alpha1.RoleChangeAction]bool{
		"": false, v1alpha1.RoleChangeReport: false, v1alpha1.RoleChangeRevoke: true, "Suspend": true,
	} {
		if got := RoleChangeRevokes(action); got != revokes {
			t.Errorf("%q revokes: %t", action, got)
		}
	}
}
