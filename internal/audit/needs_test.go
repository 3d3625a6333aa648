// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
)

// withRules has a grant of a role of these rules.
func withRules(lines ...string) func(*v1alpha1.AccessRequest) {
	return func(req *v1alpha1.AccessRequest) {
		req.Status.Grant.Role = policy.Role{UID: "r", Rules: rules(lines...)}.Record()
	}
}

// around are calls of others, one before any grant and one after all.
func around() []event {
	ofNobody := func(e *event) { e.User.Username, e.Annotations[reasonAnnotation] = "mallory", "" }
	return []event{logged("before", -10, ofNobody), logged("after", 200, ofNobody)}
}

// needs are what a report says was needed, of records and a log.
func needs(t *testing.T, reqs []*v1alpha1.AccessRequest, events ...event) []*Needs {
	t.Helper()
	r := NewReporter(Question{})
	for _, record := range recordsOf(reqs...) {
		if err := r.ReadRecords("records", strings.NewReader(text(t, record))); err != nil {
			t.Fatal(err)
		}
	}
	r.Survey()
	r.Choose()
	if err := r.ReadCalls("log", strings.NewReader(logOf(t, events...))); err != nil {
		t.Fatal(err)
	}
	return r.Needs()
}

// suggested are the rules of a suggestion, and why there is none.
func suggested(n *Needs) string {
	switch role := n.Suggestion().(type) {
	case *rbacv1.ClusterRole:
		return "ClusterRole " + role.Name + ": " + lines(role.Rules)
	case *rbacv1.Role:
		return "Role " + role.Namespace + "/" + role.Name + ": " + lines(role.Rules)
	}
	return strings.Join(n.Unclear, "; ")
}

func TestASmallerRoleIsOfWhatTheGrantAllowedOrMayHaveAllowed(t *testing.T) {
	grant := another("debug", withRules(
		"* core pods,pods/log,secrets,configmaps,services", "get,impersonate core serviceaccounts", "get apps deployments"))
	do := func(id, verb, resource string, change func(*event)) event {
		return logged(id, 10, func(e *event) {
			by(grant)(e)
			e.Verb, e.Object.Resource = verb, resource
			if change != nil {
				change(e)
			}
		})
	}
	elsewise := func(e *event) { e.Annotations[reasonAnnotation] = "" }
	events := append(around(),
		do("by-it", "list", "pods", nil),
		do("not-found", "get", "pods", func(e *event) { e.Object.Name, e.Status.Code = "x", 404 }),
		do("standing", "get", "configmaps", elsewise),
		do("what-the-role-has-not", "get", "nodes", elsewise),
		do("refused", "delete", "secrets", func(e *event) {
			e.Status.Code, e.Annotations = 403, map[string]string{decisionAnnotation: "forbid"}
		}),
		do("as-an-account", "delete", "services", func(e *event) {
			elsewise(e)
			e.As = &caller{Username: "system:serviceaccount:payments:deployer"}
		}),
		do("as-one-elsewhere", "delete", "services", func(e *event) {
			elsewise(e)
			e.As = &caller{Username: "system:serviceaccount:orders:deployer"}
		}),
		do("of-bob", "get", "services", func(e *event) { elsewise(e); e.User.Username = "bob" }),
	)
	all := needs(t, []*v1alpha1.AccessRequest{grant}, events...)
	if len(all) != 1 {
		t.Fatalf("%d roles", len(all))
	}
	n := all[0]
	// To act as an account elsewhere is no matter of this grant. The service was deleted by the
	// account, and as one elsewhere: kube-apiserver asked whether they may.
	want := "ClusterRole edit-as-used: get core configmaps; get,list core pods; impersonate core serviceaccounts"
	if got := suggested(n); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if n.Calls != 2 || n.OtherCalls != 1 || n.Held != 55 || text(t, n.Holders) != `["alice"]` || text(t, n.Grants) != `["payments/debug"]` {
		t.Errorf("%s", text(t, n))
	}
	if len(n.Rules) != 3 || n.Rules[2].Calls != 0 {
		t.Errorf("%s", text(t, n.Rules))
	}
}

func TestWhereTheLogMayNotTellAllNoRoleIsSuggested(t *testing.T) {
	ofRules := withRules("get,delete core pods")
	before, afterAll := around()[0], around()[1]
	listed := logged("x", 10, by(another("debug", nil)))
	deleted := logged("x", 10, func(e *event) { by(another("debug", nil))(e); e.Verb = "delete" })
	writes := func(events ...event) []event {
		for i := range events {
			events[i].Verb = "delete"
		}
		return events
	}
	for name, tc := range map[string]struct {
		change func(*v1alpha1.AccessRequest)
		events []event
		want   string
	}{
		"no log":               {ofRules, nil, "there is no audit log"},
		"one that begins late": {ofRules, []event{deleted, afterAll}, "the audit log begins at"},
		"one that ends early":  {ofRules, []event{before, deleted}, "the audit log ends at"},
		"one without reads":    {ofRules, writes(around()...), "the audit log has no get and no list of anybody"},
		"unless reads are none": {
			withRules("delete,create core pods"), writes(append(around(), deleted)...), "ClusterRole edit-as-used: delete core pods",
		},
		"no rules": {nil, around(), "the records do not have the rules"},
		"other rules": {
			ofRules, append(around(), listed), "calls that the rules did not allow when access was given: 1, such as list pods",
		},
		"a log of all":  {ofRules, append(around(), deleted), "ClusterRole edit-as-used: delete core pods"},
		"nothing of it": {ofRules, around(), ""},
		"while it is held": {
			func(req *v1alpha1.AccessRequest) {
				ofRules(req)
				req.Status.Grant.EndedAt = nil
				req.Status.State = v1alpha1.StateActive
			},
			[]event{before, deleted},
			"ClusterRole edit-as-used: delete core pods",
		},
	} {
		all := needs(t, []*v1alpha1.AccessRequest{another("debug", tc.change)}, tc.events...)
		if got := suggested(all[0]); len(all) != 1 || !strings.HasPrefix(got, tc.want) || tc.want == "" && got != "" {
			t.Errorf("%s: %s\nwant %s", name, got, tc.want)
		}
	}
	n := needs(t, []*v1alpha1.AccessRequest{another("debug", ofRules)}, append(around(), deleted)...)[0]
	if n.NotLogged(strings.Fields("a b c d e f g h i j")); !strings.HasSuffix(suggested(n), ": a, b, c, d, e, f, g, h and 2 more") {
		t.Errorf("%s", suggested(n))
	}
}

func TestGrantsOfOneRoleAreSummedUpAndOfAnotherAreNot(t *testing.T) {
	ofRules := withRules("get,list,delete core pods")
	as := func(kind, name, namespace string, more ...func(*v1alpha1.AccessRequest)) func(*v1alpha1.AccessRequest) {
		return func(req *v1alpha1.AccessRequest) {
			ofRules(req)
			req.Spec.RoleRef, req.Namespace = v1alpha1.RoleRef{Kind: kind, Name: name}, namespace
			for _, change := range more {
				change(req)
			}
		}
	}
	bob := func(req *v1alpha1.AccessRequest) {
		req.Spec.Subject = &v1alpha1.Subject{Kind: v1alpha1.UserKind, Name: "bob"}
	}
	first, second := another("a", as("ClusterRole", "edit", "payments")), another("b", as("ClusterRole", "edit", "orders", bob))
	inPayments, inOrders := another("c", as("Role", "edit", "payments")), another("d", as("Role", "edit", "orders"))
	changed := another("e", as("ClusterRole", "edit", "stock", withRules("get core pods")))
	ending := func(verb string, req *v1alpha1.AccessRequest) event {
		return logged(req.Name, 10, func(e *event) { by(req)(e); e.Verb, e.Object.Namespace = verb, req.Namespace })
	}
	all := needs(t, []*v1alpha1.AccessRequest{first, second, inPayments, inOrders, changed}, append(around(),
		ending("get", first), ending("list", second), ending("delete", inPayments), ending("list", inOrders), ending("get", changed))...)
	// Alice's calls by one role are beside the other, where she holds both.
	got := map[string]bool{}
	for _, n := range all {
		got[suggested(n)+" by "+strings.Join(n.Holders, " ")] = true
	}
	for _, want := range []string{
		"Role payments/edit-as-used: delete,get core pods by alice", "Role orders/edit-as-used: list core pods by alice",
	} {
		if !got[want] {
			t.Errorf("%v\nwant %s", got, want)
		}
	}
	names := text(t, got)
	if len(all) != 4 || !strings.Contains(names, "ClusterRole edit-as-used: delete,get,list core pods by alice bob") ||
		!strings.Contains(names, "ClusterRole edit-as-used-2: ") {
		t.Errorf("%s", names)
	}
}
