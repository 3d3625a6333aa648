// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/test/builders"
)

func TestLintFindsMistakesAndRisks(t *testing.T) {
	good := builders.Policy("p").From(builders.Group("oncall")).In("payments")
	byName := metav1.LabelSelectorRequirement{Key: "kubernetes.io/metadata.name", Operator: "Exists"}
	eve, zoe, alice := builders.User("eve"), builders.User("zoe"), builders.User("alice")
	for name, tc := range map[string]struct {
		policy builders.PolicyBuilder
		want   []string
	}{
		"nothing wrong": {good, nil},
		"no namespace":  {builders.Policy("p"), []string{"mistake: namespaces is empty, which matches nothing; write names, "}},
		"no requester and no role": {good.From().Allowing(), []string{
			"mistake: requesters is empty, which matches nothing", "mistake: roles is empty, which matches nothing",
		}},
		"a condition that does not compile": {good.If("request.nothing", ""), []string{"mistake: conditions[0]: 1:8: undefined field 'nothing'"}},
		"a condition that is never true": {
			good.If("false", ""), []string{"mistake: conditions[0] is always false, so that nothing is allowed"},
		},
		"the same condition twice": {
			good.If("1 < 2", "").If("1  <  2", ""), []string{"mistake: conditions[1] is the same as conditions[0]"},
		},
		"an approver": {good.ApprovedBy(eve), nil},
		"one approver for two rules": {good.ApprovedBy(eve).ApprovedBy(eve), []string{
			`mistake: approvals can never be met: 2 must approve by approvals[0] and approvals[1], out of User "eve"`,
		}},
		"two approvers for two rules": {good.ApprovedBy(eve, zoe).ApprovedBy(eve), nil},
		"people who are told apart by their names alone": {good.ApprovedBy(eve).SharingUIDs(), []string{
			"risk: uidIsShared: who has two names, such as in another case, counts as two people",
		}},
		"a group may be large enough": {good.ApprovedBy(builders.Group("g")).ApprovedBy(builders.Group("g")), nil},
		"the only approver asks": {good.From(alice, zoe).ApprovedBy(alice), []string{
			`mistake: approvals can never be met for what "alice" asks, who does not count: 1 must approve by approvals[0], out of nobody`,
		}},
		"a dangerous role": {good.Allowing("cluster-admin"), []string{
			`mistake: ClusterRole "cluster-admin" is dangerous: it may do everything; set allowDangerousRoles if that is meant`,
		}},
		"a role with lesser risks": {
			good.Allowing("secrets"), []string{"risk: ClusterRole secrets: its holder can read secrets, with the passwords and tokens in them"},
		},
		"a role that gives nothing": {
			good.Allowing("nodes"),
			[]string{`mistake: roles[0] ClusterRole "nodes" gives nothing here: all that it allows (nodes) is in no namespace`},
		},
		"namespaces by label": {good.Selecting("team", "x"), []string{
			"risk: namespaces.selector: whoever may label a namespace decides that access can be asked for in it",
		}},
		"namespaces by a part of their name": {good.SelectingBy(byName), nil},
		"namespaces by name and label": {good.SelectingBy(byName, metav1.LabelSelectorRequirement{Key: "team", Operator: "Exists"}), []string{
			"risk: namespaces.selector: whoever may label a namespace decides that access can be asked for in it",
		}},
		"all who log in": {good.From(builders.Group("system:authenticated")), []string{
			`risk: requesters: whoever logs in may ask, ServiceAccounts included (Group "system:authenticated")`,
		}},
		"a controller for itself": {good.From(builders.ServiceAccount("flux", "apply")), []string{
			"risk: only ServiceAccounts may ask and grantees is empty: they can ask for nobody but themselves, " +
				"which a GitOps controller seldom means",
		}},
		"revokers": {good.RevokedBy(builders.Group("security"), eve), nil},
		"revokers who ask": {good.RevokedBy(builders.Group("security"), builders.Group("oncall")), []string{
			"risk: revokers: group:oncall may ask and revoke, and so end what others hold",
		}},
		"a revoker whom nobody can be": {good.RevokedBy(builders.User("*")), []string{
			`mistake: revokers[0] User "*": a name is not a pattern; name a group that all of them are in`,
		}},
		"a group as grantee": {
			good.To(builders.Group("devs")).ApprovedBy(eve), []string{"risk: grantees: all members of group:devs get the access at once"},
		},
		"a grantee, and nobody who approves": {good.To(alice), []string{
			"risk: grantees: nobody approves; whoever may ask can alone give them access",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := lintPolicy(tc.policy.Build(), nil, func(ref v1alpha1.RoleRef) (policy.Role, bool, error) {
				if ref.Name == "secrets" {
					return policy.Role{Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}}}},
						true, nil
				}
				if ref.Name == "nodes" {
					return policy.Role{Rules: []rbacv1.PolicyRule{builders.Rule("", "nodes", "get")}}, true, nil
				}
				return policy.Role{Unread: true}, true, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range found {
				got = append(got, map[bool]string{true: "mistake: ", false: "risk: "}[f.mistake]+f.text)
			}
			if !slices.EqualFunc(got, tc.want, strings.HasPrefix) {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}

func TestLintRefusesWhatTheAPIServerWould(t *testing.T) {
	const list = `
apiVersion: v1
kind: List
items:
- apiVersion: lapse.dev/v1alpha1
  kind: AccessPolicy
  metadata: {name: p}
  spec:
    requesters: [%s]
    roles: [{kind: ClusterRole, name: view}]
    namespaces: {names: [payments]}
    maxDuration: %s
`
	for name, tc := range map[string]struct{ requesters, longest, want string }{
		"nothing wrong": {"{kind: Group, name: oncall}", "1h", ""},
		"a kind in small letters": {
			"{kind: group, name: oncall}", "1h", `spec.requesters[0].kind: Unsupported value: "group": supported values: "User", ` +
				`"Group", "ServiceAccount"`,
		},
		"a ServiceAccount without namespace": {"{kind: ServiceAccount, name: bot}", "1h", "spec.requesters[0]: Invalid value:"},
		"an account as User": {
			`{kind: User, name: "system:serviceaccount:ci:bot"}`,
			"1h",
			"spec.requesters[0].name: Invalid value:",
		},
		"all who log in":                {`{kind: Group, name: "system:authenticated"}`, "1h", ""},
		"all who log in, by a provider": {`{kind: Group, name: "system:cattle:authenticated"}`, "1h", ""},
		"a User of Kubernetes":          {`{kind: User, name: "system:admin"}`, "1h", "spec.requesters[0].name: Invalid value:"},
		"who did not log in":            {`{kind: Group, name: "system:unauthenticated"}`, "1h", "spec.requesters[0].name: Invalid value:"},
		"a blank name": {
			`{kind: Group, name: " "}`, "1h", `spec.requesters[0].name: Invalid value: " ": name must not be blank`,
		},
		"too long":                       {"{kind: Group, name: oncall}", "25h", "spec.maxDuration: Invalid value:"},
		"a duration of another spelling": {"{kind: Group, name: oncall}", "1.5h", "spec.maxDuration: Invalid value:"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := readManifests(strings.NewReader(fmt.Sprintf(list, tc.requesters, tc.longest)), []string{"-"})
			if err != nil {
				t.Fatal(err)
			}
			if len(m.policies) != 1 {
				t.Errorf("policies in the list: %d, want 1", len(m.policies))
			}
			switch {
			case tc.want == "" && len(m.refused) > 0, tc.want != "" && len(m.refused) != 1:
				t.Errorf("refused: %v, want %q", m.refused, tc.want)
			case tc.want != "" && !strings.HasPrefix(m.refused[0].reason, "the API server would refuse it: "+tc.want):
				t.Errorf("refused: %s, want %s", m.refused[0].reason, tc.want)
			}
		})
	}
}

func TestRulesThatTheFilesDoNotHaveAreNotTakenForNone(t *testing.T) {
	const roles = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: aggregated}
aggregationRule: {clusterRoleSelectors: [{matchLabels: {aggregate-to: it}}]}
rules: []
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: empty}
rules: []
`
	m, err := readManifests(strings.NewReader(roles), []string{"-"})
	if err != nil {
		t.Fatal(err)
	}
	p := builders.Policy("p").In("payments").Allowing("aggregated", "elsewhere", "empty").Build()
	got, err := lintPolicy(p, nil, func(ref v1alpha1.RoleRef) (policy.Role, bool, error) { return m.role("payments", ref), true, nil })
	want := finding{true, `roles[2] ClusterRole "empty" has no rules, so that it gives nothing`}
	if err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

func TestLintRefusesGroupsOfKubernetesAmongGranteesAndApprovers(t *testing.T) {
	const all = `Group, name: "system:authenticated"`
	for field, more := range map[string]string{
		"spec.grantees[0].name":          `grantees: [{kind: ` + all + `}]`,
		"spec.approvals[0].from[0].name": `approvals: [{count: 1, from: [{kind: ` + all + `}]}]`,
	} {
		m, err := readManifests(strings.NewReader(`
apiVersion: lapse.dev/v1alpha1
kind: AccessPolicy
metadata: {name: p}
spec:
  requesters: [{kind: Group, name: oncall}]
  roles: [{kind: ClusterRole, name: view}]
  namespaces: {names: [payments]}
  maxDuration: 1h
  `+more), []string{"-"})
		if err != nil || len(m.refused) != 1 || !strings.Contains(m.refused[0].reason, field+": Invalid value: ") {
			t.Errorf("%s: refused %v, %v", field, m.refused, err)
		}
	}
}
