// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

func TestWhatARoleBindingGives(t *testing.T) {
	const group = rbacv1.GroupName
	for name, tc := range map[string]struct {
		rules  []string
		some   bool
		beyond string
	}{
		"no rules":                 {nil, false, ""},
		"a rule without verbs":     {[]string{"- core pods"}, false, ""},
		"a rule without resources": {[]string{"get core -"}, false, ""},
		"what is in a namespace":   {[]string{"get core pods"}, true, ""},
		"nodes":                    {[]string{"get,list core nodes"}, false, "nodes"},
		"one node":                 {[]string{"get core nodes worker-1"}, false, "nodes"},
		"a part of nodes":          {[]string{"get core nodes/stats,nodes/proxy"}, false, "nodes/proxy nodes/stats"},
		"every verb on nodes":      {[]string{"* core nodes"}, false, "nodes"},
		"nodes and their metrics":  {[]string{"get core,metrics.k8s.io nodes"}, false, "nodes nodes.metrics.k8s.io"},
		"a namespace, in itself":   {[]string{"get core namespaces"}, true, ""},
		"every group":              {[]string{"get * nodes"}, true, ""},
		"every resource":           {[]string{"get core *"}, true, ""},
		"a part of every resource": {[]string{"get core */status"}, true, ""},
		"a custom resource":        {[]string{"get example.com nodes"}, true, ""},
		"what there is not":        {[]string{"get apps nodes"}, true, ""},
		"reviews of a namespace":   {[]string{"create authorization.k8s.io localsubjectaccessreviews"}, true, ""},
		"reviews of the cluster": {
			[]string{"create authorization.k8s.io subjectaccessreviews"}, false, "subjectaccessreviews.authorization.k8s.io",
		},
		"changing ClusterRoles":     {[]string{"update " + group + " clusterroles"}, false, "clusterroles." + group},
		"binding ClusterRoles":      {[]string{"bind " + group + " clusterroles edit"}, true, ""},
		"all on ClusterRoles":       {[]string{"* " + group + " clusterroles"}, true, ""},
		"binding what binds":        {[]string{"bind " + group + " clusterrolebindings"}, false, "clusterrolebindings." + group},
		"nodes in one rule of two":  {[]string{"get core nodes", "get core pods"}, true, "nodes"},
		"nodes in a rule with pods": {[]string{"get core pods,nodes"}, true, "nodes"},
	} {
		t.Run(name, func(t *testing.T) {
			got := reachOf(rulesOf(tc.rules))
			if got.some != tc.some || strings.Join(got.beyond, " ") != tc.beyond {
				t.Errorf("reach = %+v, want %v, %q", got, tc.some, tc.beyond)
			}
		})
	}
	paths := rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/metrics", "/logs/*"}}
	if got := reachOf([]rbacv1.PolicyRule{paths}); got.some || strings.Join(got.beyond, " ") != "/logs/* /metrics" {
		t.Errorf("reach of paths = %+v", got)
	}
}

func TestALongRoleIsJudgedInTimeByItsLength(t *testing.T) {
	many := make([]string, 100_000)
	for i := range many {
		many[i] = "n" + strconv.Itoa(i)
	}
	rule := rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: many, Resources: many}
	same := rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: make([]string, len(many)), Resources: many}
	began := time.Now()
	if !reachOf([]rbacv1.PolicyRule{rule, same}).some {
		t.Error("it gives nothing")
	}
	if took := time.Since(began); took > 10*time.Second { // by groups times resources, it takes minutes
		t.Errorf("it took %s", took)
	}
}

func TestARoleThatGivesNothingIsRefused(t *testing.T) {
	const nothing = `ClusterRole "view" gives nothing here: all that it allows (nodes) is in no namespace, and a grant reaches one ` +
		`namespace alone; ask for a role that allows something in a namespace, or have a cluster admin make a ClusterRoleBinding, ` +
		`which Lapse does not`
	const empty = `policy p would allow this, but ClusterRole "view" has no rules, so that it gives nothing; it is tried again`
	for name, tc := range map[string]struct {
		role    Role
		verdict Verdict
		message string
	}{
		"nodes alone": {Role{Rules: rulesOf([]string{"get core nodes"})}, Denied, nothing},
		"nodes and pods": {
			Role{Rules: rulesOf([]string{"get core nodes,pods"})}, Allowed, "policy p allows this for 1h",
		},
		"no rules yet":               {Role{UID: "1"}, RoleEmpty, empty},
		"rules that may not be read": {Role{Unread: true}, Allowed, "policy p allows this for 1h"},
	} {
		t.Run(name, func(t *testing.T) {
			in := inputOf(ask().Build())
			in.Roles = func(v1alpha1.RoleRef) (Role, bool, error) { return tc.role, true, nil }
			d := judged(t, in, offer("p"), offer("q").If("false", ""))
			if d.Verdict != tc.verdict || d.Message() != tc.message {
				t.Errorf("decision = %s, %q", d.Verdict, d.Message())
			}
			if named := d.Policy != nil; named != (tc.verdict != Denied) {
				t.Errorf("policy = %v", d.Policy)
			}
		})
	}
}

func TestAGrantRunsOnWhenItsRoleGivesNothingAnyMore(t *testing.T) {
	in := inputOf(ask().Build())
	in.Roles = func(v1alpha1.RoleRef) (Role, bool, error) { return Role{}, true, nil }
	if objections := Compile(stored(offer("p"))).StillAllows(in, time.Hour); len(objections) > 0 {
		t.Errorf("objections = %q", objections)
	}
}

func TestAnotherRoleOfThePolicyMayGiveNothing(t *testing.T) {
	in := inputOf(ask().Build())
	in.Roles = func(ref v1alpha1.RoleRef) (Role, bool, error) {
		if ref.Name == "view" {
			return Role{Rules: readPods}, true, nil
		}
		return Role{}, true, nil
	}
	if d := judged(t, in, offer("p").Allowing("view", "edit")); d.Verdict != Allowed {
		t.Errorf("decision = %s, %q", d.Verdict, d.Message())
	}
}

func TestAPolicyIsToldWhichRolesGiveNothing(t *testing.T) {
	roles := func(ref v1alpha1.RoleRef) (Role, bool, error) {
		switch ref.Name {
		case "nodes":
			return Role{Rules: rulesOf([]string{"get core nodes", "get storage.k8s.io csinodes,storageclasses"})}, true, nil
		case "empty":
			return Role{}, true, nil
		case "unread":
			return Role{Unread: true}, true, nil
		}
		return existing("view")(ref)
	}
	got, err := Useless(stored(offer("p").Allowing("view", "nodes", "empty", "unread", "missing")), roles)
	want := []string{
		`roles[1] ClusterRole "nodes" gives nothing here: all that it allows (csinodes.storage.k8s.io, nodes, ` +
			`storageclasses.storage.k8s.io) is in no namespace, and a grant reaches one namespace alone; ask for a role that ` +
			`allows something in a namespace, or have a cluster admin make a ClusterRoleBinding, which Lapse does not`,
		`roles[2] ClusterRole "empty" has no rules, so that it gives nothing`,
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, %v\nwant %q", got, err, want)
	}
	if _, err := Useless(stored(offer("p")), failing); err == nil {
		t.Error("a lookup that fails is no error")
	}
}

func TestTheRiskOfAPartThatIsNotGivenNamesIt(t *testing.T) {
	const want = "what it allows on nodes, persistentvolumes is not given: that is in no namespace, " +
		"and a grant reaches one namespace alone"
	for name, tc := range map[string]struct {
		rules []string
		want  string
	}{
		"a part":  {[]string{"list core nodes,persistentvolumes", "list core pods"}, want},
		"nothing": {[]string{"list core pods"}, ""},
		"all":     {[]string{"list core nodes"}, ""},
	} {
		if got := strings.Join(Risks(clusterRole("r"), rulesOf(tc.rules)), "; "); got != tc.want {
			t.Errorf("%s: risks = %q", name, got)
		}
	}
}
