// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/text"
	"github.com/lapse-dev/lapse/test/builders"
)

func TestMessageSaysWhatWouldHaveBeenAllowed(t *testing.T) {
	user, group, account := builders.User, builders.Group, builders.ServiceAccount
	bob := offer("p").From(user("bob"), group("leads"), account("ci", "bot"))
	for name, tc := range map[string]struct {
		request  builders.RequestBuilder
		policies []buildable
		want     string
	}{
		"no policy at all": {ask(), nil, "no policy is for this requester, role and namespace"},
		"two of three differ: not mentioned": {
			ask(),
			[]buildable{bob.Allowing("edit"), bob.In("shop"), offer("q").Allowing("edit").In("shop")},
			"no policy is for this requester, role and namespace",
		},
		"another requester": {
			ask(),
			[]buildable{bob},
			`no policy is for this requester, role and namespace: policy p: requester "alice" (groups: "oncall") is not among its ` +
				`requesters (User "bob", ` +
				`Group "leads", ServiceAccount "ci/bot")`,
		},
		"another role": {
			ask().ForClusterRole("admin"),
			[]buildable{offer("p").Allowing("view", "edit").AllowingRole("debug")},
			`no policy is for this requester, role and namespace: policy p: ` +
				`roleRef ClusterRole "admin" is not among its roles (ClusterRole "view", ClusterRole "edit", Role "debug")`,
		},
		"another namespace": {
			ask(),
			[]buildable{offer("p").In("shop")},
			`no policy is for this requester, role and namespace: policy p: namespace "payments" is not among its namespaces ("shop")`,
		},
		"another namespace, by label": {
			ask(),
			[]buildable{builders.Policy("p").Selecting("team", "shop")},
			`no policy is for this requester, role and namespace: policy p: ` +
				`namespace "payments" is not among its namespaces (those labelled team=shop)`,
		},
		"another namespace, by name and label": {
			ask(),
			[]buildable{offer("p").In("shop").Selecting("team", "shop")},
			`no policy is for this requester, role and namespace: policy p: ` +
				`namespace "payments" is not among its namespaces ("shop"; those labelled team=shop)`,
		},
		"no namespace": {
			ask(),
			[]buildable{builders.Policy("p")},
			`no policy is for this requester, role and namespace: policy p: namespace "payments" is not among its namespaces (none)`,
		},
		"a long list": {
			ask(),
			[]buildable{offer("p").In("a", "b", "c", "d", "e", "f", "g")},
			`no policy is for this requester, role and namespace: policy p: ` +
				`namespace "payments" is not among its namespaces ("a", "b", "c", "d", "e" and 2 more)`,
		},
		"a list as long as is shown": {
			ask(),
			[]buildable{offer("p").In("a", "b", "c", "d", "e")},
			`no policy is for this requester, role and namespace: policy p: ` +
				`namespace "payments" is not among its namespaces ("a", "b", "c", "d", "e")`,
		},
		"a policy that the request names is told in full": {
			ask().UnderPolicy("p"),
			[]buildable{bob.Allowing("edit").In("shop"), offer("q")},
			`no policy is for this requester, role and namespace: policy p: requester "alice" (groups: "oncall") is not among its ` +
				`requesters (User "bob", ` +
				`Group "leads", ServiceAccount "ci/bot"), ` +
				`and roleRef ClusterRole "view" is not among its roles (ClusterRole "edit"), ` +
				`and namespace "payments" is not among its namespaces ("shop")`,
		},
		"a policy that the request names and nobody made": {
			ask().UnderPolicy("r"), []buildable{offer("p")}, `policy "r", which policyName asks for, does not exist`,
		},
		"everything that a policy objects to": {
			ask().To(user("carol")),
			[]buildable{offer("p").AtMost(90*time.Minute-time.Hour).If("false", "not today").If("request.spec.reason == ''", "").To(user("dave"))},
			`no policy allows this: policy p: subject User "carol" is neither the requester nor among its grantees (User "dave"), ` +
				`and duration 1h is longer than its maxDuration 30m, ` +
				`and not today, and condition is false: request.spec.reason == ''`,
		},
		"a policy that does not compile": {
			ask(),
			[]buildable{offer("p").If("request.spec.raeson == ''", "")},
			"no policy allows this: policy p: it is not in force: conditions[0]: 1:13: undefined field 'raeson'",
		},
		"a requester's name cannot break the line": {
			ask().By("a\nb\u202e\""),
			[]buildable{offer("p")},
			`no policy is for this requester, role and namespace: policy p: requester "a\nb\u202e\"" is not among its requesters (User "alice")`,
		},
		"those that match come first, then by name": {
			ask(),
			[]buildable{bob, offer("z").If("false", "z objects"), offer("y").If("false", "y objects"), offer("a").In("shop")},
			`no policy allows this: policy y: y objects; policy z: z objects; ` +
				`policy a: namespace "payments" is not among its namespaces ("shop"); ` +
				`policy p: requester "alice" (groups: "oncall") is not among its requesters (User "bob", Group "leads", ServiceAccount "ci/bot")`,
		},
		"allowed, with approvals": {
			ask(),
			[]buildable{offer("p").ApprovedBy(user("bob")).ApprovedBy(user("carol"))},
			"policy p allows this for 1h once 2 people have approved",
		},
	} {
		t.Run(name, func(t *testing.T) {
			compiled := compileAll(tc.policies...)
			for range 8 { // whatever the order
				rand.Shuffle(len(compiled), func(i, j int) { compiled[i], compiled[j] = compiled[j], compiled[i] })
				d, err := Evaluate(inputOf(tc.request.Build()), compiled)
				if err != nil || d.Message() != tc.want {
					t.Fatalf("message = %v\n%s\nwant\n%s", err, d.Message(), tc.want)
				}
			}
		})
	}
}

func TestMessageOfAMissingRoleListsOthersThatLackOne(t *testing.T) {
	d := judged(t, inputOf(ask().Build()), offer("a").Allowing("view", "gone"), offer("b").Allowing("view", "lost"),
		offer("c").If("false", "no"))
	want := []Denial{{"b", []string{`it lists ClusterRole "lost", which does not exist`}}, {"c", []string{"no"}}}
	if d.Verdict != RoleMissing || !reflect.DeepEqual(d.Denials, want) {
		t.Errorf("verdict = %s, denials = %q", d.Verdict, d.Denials)
	}
}

func TestMessageIsBounded(t *testing.T) {
	denials := func(n int, objection string) Decision {
		d := Decision{Verdict: Denied}
		for i := range n {
			d.Denials = append(d.Denials, Denial{fmt.Sprintf("p%03d", i), []string{objection}})
		}
		return d
	}
	for name, tc := range map[string]struct {
		decision Decision
		suffix   string
	}{
		"one denial is told in full":            {denials(1, "short"), "policy p000: short"},
		"many denials are counted":              {denials(200, strings.Repeat("x", 100)), "; and 165 more policies"},
		"one denial too many is counted as one": {denials(2, strings.Repeat("x", 2400)), "; and 1 more policy"},
		"a single denial too long is cut":       {denials(1, strings.Repeat("ä", 4096)), "ä…"},
		"the first of many too long is cut":     {denials(7, strings.Repeat("日", 4096)), "日…; and 6 more policies"},
		"a refusal too long is cut":             {Decision{Verdict: Denied, Refusals: []string{strings.Repeat("日", 4096)}}, "日…"},
		"a policy's name too long is cut": {
			Decision{Verdict: Allowed, Policy: &v1alpha1.PolicyReference{Name: strings.Repeat("日", 4096)}}, "日… allows this for 0s",
		},
		"missing roles too long are cut": {
			Decision{Verdict: RoleMissing, Missing: []v1alpha1.RoleRef{{Kind: "Role", Name: strings.Repeat("日", 4096)}}},
			`日…" does not exist; it is tried again`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			message := tc.decision.Message()
			if len(message) > 4096 || !utf8.ValidString(message) || !strings.HasSuffix(message, tc.suffix) {
				t.Errorf("message of %d bytes ends in %q, want %q", len(message), message[max(len(message)-80, 0):], tc.suffix)
			}
		})
	}
	for size := range 4200 { // at every border
		if message := denials(2, strings.Repeat("ä", size)).Message(); len(message) > 4096 || !utf8.ValidString(message) {
			t.Fatalf("message for an objection of %d runes has %d bytes", size, len(message))
		}
	}
	if full := denials(1, strings.Repeat("x", 4096-len("no policy allows this: policy p000: "))).Message(); len(full) != 4096 ||
		strings.Contains(full, "…") {
		t.Errorf("a message of exactly the limit was cut: %d bytes", len(full))
	}
}

func TestEveryNearMissIsTold(t *testing.T) {
	policies := make([]buildable, 0, 3*maxExplained)
	for i := range 3 * maxExplained {
		policies = append(policies, offer(fmt.Sprintf("p%03d", i)).If("false", "first").If("false", "second"))
	}
	d := judged(t, inputOf(ask().Build()), policies...)
	if len(d.Denials) != 3*maxExplained {
		t.Fatalf("%d denials", len(d.Denials))
	}
	for i, denial := range d.Denials {
		want := Denial{fmt.Sprintf("p%03d", i), []string{"first", "second"}}
		if i >= maxExplained {
			want.Objections = want.Objections[:1]
		}
		if !reflect.DeepEqual(denial, want) {
			t.Errorf("denial %d = %q, want %q", i, denial, want)
		}
	}
}

func TestMessageOfAnUnknownVerdictIsNoYes(t *testing.T) {
	if m := (Decision{Verdict: "Perhaps"}).Message(); m != "nothing was decided" {
		t.Errorf("message = %q", m)
	}
}

func TestDurationText(t *testing.T) {
	for _, want := range []string{"0s", "1s", "1m", "1m30s", "10m", "1h", "1h30m", "1h40m", "1h0m1s", "10h", "20h", "24h", "-1h"} {
		d, err := time.ParseDuration(want)
		if got := text.Duration(d); err != nil || got != want {
			t.Errorf("text.Duration(%s) = %s, want %s, %v", d, got, want, err)
		}
	}
}

func TestStillAllows(t *testing.T) {
	user, group := builders.User, builders.Group
	late := metav1.Time{Time: noon.Add(-time.Hour)}
	in := inputOf(ask().NotAfter(late.Time).Build())
	wild := inputOf(ask().ForClusterRole("cluster-admin").Build())
	wild.Roles = existing("cluster-admin")
	down := inputOf(ask().Build())
	down.Roles = failing
	gone := inputOf(ask().Build())
	gone.Roles = existing()
	nowhere := inputOf(ask().Build())
	nowhere.Namespace = nil
	for name, tc := range map[string]struct {
		in      Input
		policy  buildable
		granted time.Duration
		want    []string
	}{
		"it is as it was":                      {in, offer("p"), time.Hour, nil},
		"approvals are not counted":            {in, offer("p").ApprovedBy(group("leads")), time.Hour, nil},
		"a role that is gone is not asked for": {gone, offer("p"), time.Hour, nil},
		"at the new limit":                     {in, offer("p").AtMost(10 * time.Minute), 10 * time.Minute, nil},
		"one past the new limit": {
			in, offer("p").AtMost(10 * time.Minute), 10*time.Minute + 1, []string{"the granted 10m0.000000001s are longer than its maxDuration 10m"},
		},
		"what was asked for does not matter": {inputOf(ask().Lasting(23 * time.Hour).Build()), offer("p"), time.Hour, nil},
		"the requester was removed": {
			in, offer("p").From(user("bob")), time.Hour, []string{`requester "alice" (groups: "oncall") is not among its requesters (User "bob")`},
		},
		"the role was removed": {
			in, offer("p").Allowing("edit"), time.Hour, []string{`roleRef ClusterRole "view" is not among its roles (ClusterRole "edit")`},
		},
		"the namespace was removed": {
			in, offer("p").In("shop"), time.Hour, []string{`namespace "payments" is not among its namespaces ("shop")`},
		},
		"a condition was added": {
			in, offer("p").If("now > timestamp('2026-12-01T12:00:00Z')", "only after noon"), time.Hour, []string{"only after noon"},
		},
		"a condition is judged as of then": {in, offer("p").If("now == timestamp('2026-12-01T12:00:00Z')", ""), time.Hour, nil},
		"it does not compile any more": {in, offer("p").If("nonsense", ""), time.Hour, []string{
			"it is not in force: conditions[0]: 1:1: undeclared reference to 'nonsense' (in container '')",
		}},
		"the grantee was removed": {inputOf(ask().To(user("bob")).Build()), offer("p"), time.Hour, []string{
			`subject User "bob" is neither the requester nor among its grantees (none)`,
		}},
		"the request names another policy": {
			inputOf(ask().UnderPolicy("q").Build()), offer("p"), time.Hour, []string{`the request asks for policy "q"`},
		},
		"the namespace is gone": {nowhere, offer("p"), time.Hour, []string{`namespace "payments" does not exist`}},
		"dangerous roles were forbidden": {
			wild, offer("p").Allowing("cluster-admin"), time.Hour,
			[]string{`ClusterRole "cluster-admin" is dangerous: it may do everything; the policy does not say allowDangerousRoles`},
		},
		"dangerous roles are still meant": {wild, dangerously(offer("p").Allowing("cluster-admin")), time.Hour, nil},
		"it cannot be told what the role is": {down, offer("p"), time.Hour, []string{
			`it could not be told whether the role is dangerous: looking up ClusterRole "view": the API server is down`,
		}},
		"nobody asked": {
			Input{Request: &v1alpha1.AccessRequest{}, Now: noon}, offer("p"), 1, []string{`namespace "" does not exist`},
		},
		"there is no request": {Input{Now: noon}, offer("p"), 1, []string{"there is no request to judge"}},
		"there is no time":    {Input{Request: ask().Build()}, offer("p"), 1, []string{"the time of the decision is missing"}},
		"a requester that cannot be granted it": {
			inputOf(ask().By("system:admin", "oncall").Build()), offer("p").From(group("oncall")), 1,
			[]string{`requester User "system:admin" cannot be granted anything: users and groups that begin with system: belong to Kubernetes`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Compile(stored(tc.policy)).StillAllows(tc.in, tc.granted); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("objections = %q, want %q", got, tc.want)
			}
		})
	}
}
