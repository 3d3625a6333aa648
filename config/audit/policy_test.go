// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package audit holds the audit policy for kube-apiserver against what a report needs.
package audit

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	apiserveraudit "k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"sigs.k8s.io/yaml"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	lapse "github.com/lapse-dev/lapse/internal/policy"
)

// shipped is the policy as people edit it.
func shipped(t *testing.T) *auditv1.Policy {
	t.Helper()
	data, err := os.ReadFile("policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p := &auditv1.Policy{}
	if err := yaml.UnmarshalStrict(data, p); err != nil { // kube-apiserver only warns of a field that it does not know
		t.Fatal(err)
	}
	return p
}

// evaluator judges as kube-apiserver does.
func evaluator(t *testing.T) apiserveraudit.PolicyRuleEvaluator {
	t.Helper()
	p, err := policy.LoadPolicyFromFile("policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return policy.NewPolicyRuleEvaluator(p)
}

// call is such as "get pods/exec", in a namespace that may be empty; a path such as "get
// /metrics" is for none. Before a point, the resource has its group: "list leases.coordination.k8s.io".
func call(who user.DefaultInfo, what, namespace, name string) authorizer.AttributesRecord {
	verb, resource, _ := strings.Cut(what, " ")
	a := authorizer.AttributesRecord{User: &who, Verb: verb, Namespace: namespace, Name: name}
	if strings.HasPrefix(resource, "/") {
		a.Path = resource
		return a
	}
	a.ResourceRequest = true
	resource, a.Subresource, _ = strings.Cut(resource, "/")
	a.Resource, a.APIGroup, _ = strings.Cut(resource, ".")
	return a
}

var (
	alice    = user.DefaultInfo{Name: "alice", Groups: []string{"oncall", user.AllAuthenticated}}
	deployer = user.DefaultInfo{Name: "system:serviceaccount:payments:deployer", Groups: []string{
		user.AllAuthenticated, "system:serviceaccounts", "system:serviceaccounts:payments",
	}}
	kubeAccount = user.DefaultInfo{Name: "system:serviceaccount:kube-system:replicaset-controller", Groups: []string{
		user.AllAuthenticated, "system:serviceaccounts", "system:serviceaccounts:kube-system",
	}}
	manager = user.DefaultInfo{Name: "system:serviceaccount:lapse-system:lapse-manager", Groups: []string{
		user.AllAuthenticated, "system:serviceaccounts", "system:serviceaccounts:lapse-system",
	}}
	kubelet   = user.DefaultInfo{Name: "system:node:worker-1", Groups: []string{user.NodesGroup, user.AllAuthenticated}}
	scheduler = user.DefaultInfo{Name: user.KubeScheduler, Groups: []string{user.AllAuthenticated}}
	root      = user.DefaultInfo{Name: "kubernetes-admin", Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}}
)

func TestWhateverAGrantCanAllowIsLogged(t *testing.T) {
	evaluate := evaluator(t)
	verbs := []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "bind", "approve"}
	resources := []string{
		"pods", "pods/exec", "pods/attach", "pods/portforward", "pods/log", "pods/proxy", "pods/status", "services/proxy", "secrets",
		"configmaps", "events", "events.events.k8s.io", "endpoints", "endpointslices.discovery.k8s.io", "leases.coordination.k8s.io",
		"serviceaccounts/token", "namespaces", "localsubjectaccessreviews.authorization.k8s.io", "deployments.apps/scale",
		"rolebindings.rbac.authorization.k8s.io", "accessrequests.lapse.dev", "widgets.example.com",
	}
	for _, who := range []user.DefaultInfo{alice, deployer, kubeAccount, manager, root} {
		for _, namespace := range []string{"payments", "default", "kubernetes", "lapse"} {
			for _, resource := range resources {
				for _, verb := range verbs {
					mustBeLogged(t, evaluate, call(who, verb+" "+resource, namespace, "x"))
				}
			}
		}
	}
}

// mustBeLogged fails if a call has no record that a report could tell of, or one with a body.
func mustBeLogged(t *testing.T, evaluate apiserveraudit.PolicyRuleEvaluator, a authorizer.AttributesRecord) {
	t.Helper()
	got := evaluate.EvaluatePolicyRule(a)
	if got.Level != audit.LevelMetadata {
		t.Errorf("%s of %s/%s in %q by %s has level %s", a.Verb, a.Resource, a.Subresource, a.Namespace, a.User.GetName(), got.Level)
	}
	for _, stage := range []audit.Stage{audit.StageResponseStarted, audit.StageResponseComplete, audit.StagePanic} {
		if slices.Contains(got.OmitStages, stage) {
			t.Errorf("%s of %s/%s by %s is without its stage %s", a.Verb, a.Resource, a.Subresource, a.User.GetName(), stage)
		}
	}
}

func TestCallsAreLoggedOrNot(t *testing.T) {
	evaluate := evaluator(t)
	for _, tc := range []struct {
		who                   user.DefaultInfo
		what, namespace, name string
		want                  audit.Level
	}{
		{alice, "get /healthz", "", "", audit.LevelNone},
		{alice, "get /apis/lapse.dev/v1alpha1", "", "", audit.LevelNone},
		{alice, "list pods", "", "", audit.LevelNone}, // everywhere: no RoleBinding allows it
		{alice, "list secrets", "", "", audit.LevelMetadata},
		{alice, "get nodes/proxy", "", "worker-1", audit.LevelMetadata},
		{alice, "get secrets", "kube-system", "x", audit.LevelMetadata},
		{alice, "get pods/exec", "kube-system", "x", audit.LevelMetadata},
		{alice, "list pods", "kube-system", "", audit.LevelNone},
		{alice, "delete pods", "kube-system", "x", audit.LevelMetadata},
		{alice, "create selfsubjectaccessreviews.authorization.k8s.io", "", "", audit.LevelNone},
		{alice, "delete validatingadmissionpolicies.admissionregistration.k8s.io", "", "x", audit.LevelMetadata},
		{alice, "update accesspolicies.lapse.dev", "", "oncall", audit.LevelMetadata},
		{alice, "delete leases.coordination.k8s.io", "lapse-system", "lapse-records", audit.LevelMetadata},
		{alice, "update leases.coordination.k8s.io", "lapse-system", "lapse-admission", audit.LevelMetadata},
		{kubelet, "patch nodes/status", "", "worker-1", audit.LevelNone},
		{kubelet, "update leases.coordination.k8s.io", "kube-node-lease", "worker-1", audit.LevelNone},
		{kubelet, "get secrets", "payments", "x", audit.LevelNone},
		{kubelet, "create events", "payments", "", audit.LevelNone},
		{kubelet, "patch pods/status", "payments", "x", audit.LevelNone},
		{kubelet, "delete pods", "payments", "x", audit.LevelMetadata},
		{scheduler, "watch pods", "", "", audit.LevelNone},
		{scheduler, "create pods/binding", "payments", "x", audit.LevelMetadata},
		{kubeAccount, "watch replicasets.apps", "", "", audit.LevelNone},
		{kubeAccount, "create pods", "payments", "", audit.LevelMetadata},
		{manager, "create rolebindings.rbac.authorization.k8s.io", "payments", "", audit.LevelMetadata},
		{manager, "delete rolebindings.rbac.authorization.k8s.io", "payments", "lapse-x", audit.LevelMetadata},
		{manager, "watch accessrequests.lapse.dev", "", "", audit.LevelNone},
		{manager, "update leases.coordination.k8s.io", "lapse-system", "lapse.lapse.dev", audit.LevelNone},
		{manager, "create subjectaccessreviews.authorization.k8s.io", "", "", audit.LevelNone},
	} {
		if got := evaluate.EvaluatePolicyRule(call(tc.who, tc.what, tc.namespace, tc.name)).Level; got != tc.want {
			t.Errorf("%s in %q by %s has level %s, want %s", tc.what, tc.namespace, tc.who.Name, got, tc.want)
		}
	}
}

func TestOnlyWhatNoGrantCanHoldIsLeftOut(t *testing.T) {
	for i, rule := range shipped(t).Rules {
		if rule.Level == auditv1.LevelMetadata {
			continue
		}
		if rule.Level != auditv1.LevelNone {
			t.Errorf("rule %d has level %s: bodies would be logged", i+1, rule.Level)
		}
		for _, name := range rule.Users {
			mustHoldNothing(t, v1alpha1.Subject{Kind: v1alpha1.UserKind, Name: name})
		}
		for _, name := range rule.UserGroups {
			mustHoldNothing(t, v1alpha1.Subject{Kind: v1alpha1.GroupKind, Name: name})
		}
		for _, name := range rule.Namespaces {
			if name != "" && name != "lapse-system" && !strings.HasPrefix(name, strings.TrimSuffix(lapse.DefaultReserved, "*")) {
				t.Errorf("rule %d leaves out namespace %s, in which Lapse may grant", i+1, name)
			}
		}
		if len(rule.Users)+len(rule.UserGroups)+len(rule.Namespaces)+len(rule.NonResourceURLs) == 0 {
			t.Errorf("rule %d leaves out what anybody may do anywhere", i+1)
		}
	}
}

func mustHoldNothing(t *testing.T, who v1alpha1.Subject) {
	t.Helper()
	spec := &v1alpha1.AccessRequestSpec{Requester: &v1alpha1.Identity{Username: "alice"}, Subject: &who}
	if _, err := lapse.GrantSubject(spec); err == nil {
		t.Errorf("calls of %s %s are left out, who may hold a grant", who.Kind, who.Name)
	}
}

func TestThePolicyIsNoObjectOfAnInstallation(t *testing.T) {
	err := filepath.WalkDir("..", func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.Name() != "kustomization.yaml" {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), "audit/") || filepath.Dir(path) == filepath.Join("..", "audit") {
			t.Errorf("%s takes up the audit policy, which is a file for kube-apiserver", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
