// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

func clusterRole(name string) v1alpha1.RoleRef {
	return v1alpha1.RoleRef{Kind: v1alpha1.ClusterRoleKind, Name: name}
}

// rule reads "verbs group resources names", each with commas, - for none.
func rule(s string) rbacv1.PolicyRule {
	part := func(s string) []string {
		if s == "-" {
			return nil
		}
		return strings.Split(s, ",")
	}
	f := strings.Fields(s)
	r := rbacv1.PolicyRule{Verbs: part(f[0]), APIGroups: part(f[1]), Resources: part(f[2])}
	for i, group := range r.APIGroups {
		if group == "core" {
			r.APIGroups[i] = ""
		}
	}
	if len(f) > 3 {
		r.ResourceNames = part(f[3])
	}
	return r
}

func rulesOf(lines []string) (out []rbacv1.PolicyRule) {
	for _, line := range lines {
		out = append(out, rule(line))
	}
	return out
}

func TestDangers(t *testing.T) {
	for name, tc := range map[string]struct {
		ref   v1alpha1.RoleRef
		rules []string
		want  []string
	}{
		"a harmless role": {
			clusterRole("view"), []string{"get,list core pods", "create core pods/exec", "impersonate core serviceaccounts"}, nil,
		},
		"no rules":                        {clusterRole("view"), nil, nil},
		"cluster-admin by its name":       {clusterRole("cluster-admin"), nil, []string{"it may do everything"}},
		"a Role called cluster-admin":     {v1alpha1.RoleRef{Kind: v1alpha1.RoleKind, Name: "cluster-admin"}, nil, nil},
		"a name that only begins like it": {clusterRole("cluster-admin-lite"), nil, nil},
		"a role of Kubernetes":            {clusterRole("system:node"), nil, []string{"it belongs to Kubernetes itself (system:)"}},
		"a Role of Kubernetes": {
			v1alpha1.RoleRef{Kind: v1alpha1.RoleKind, Name: "system:x"}, nil, []string{"it belongs to Kubernetes itself (system:)"},
		},
		"every verb": {clusterRole("r"), []string{"* core pods"}, []string{"it allows every verb (*) on pods"}},
		"every verb among others": {
			clusterRole("r"), []string{"get,* core pods,services"}, []string{"it allows every verb (*) on pods, services"},
		},
		"every verb on a name": {
			clusterRole("r"), []string{"* core pods web"}, []string{`it allows every verb (*) on pods (only "web")`},
		},
		"every resource": {clusterRole("r"), []string{"get core *"}, []string{"it allows get on every resource (*)"}},
		"every resource among others": {
			clusterRole("r"), []string{"get,list apps deployments,*"}, []string{"it allows get, list on every resource (*)"},
		},
		"a subresource of every resource": {
			clusterRole("r"), []string{"update * */scale"}, []string{"it allows update on every resource (*/scale)"},
		},
		"every group is no danger": {clusterRole("r"), []string{"get * pods"}, nil},
		"all of it": {clusterRole("cluster-admin"), []string{"* * *"}, []string{
			"it may do everything", "it allows every verb (*) on *", "it allows * on every resource (*)",
		}},
		"escalate": {
			clusterRole("r"), []string{"escalate rbac.authorization.k8s.io roles"}, []string{"it allows escalate on roles"},
		},
		"bind": {
			clusterRole("r"), []string{"bind rbac.authorization.k8s.io clusterroles"}, []string{"it allows bind on clusterroles"},
		},
		"bind of one role": {clusterRole("r"), []string{"get,bind rbac.authorization.k8s.io clusterroles edit"}, []string{
			`it allows bind on clusterroles (only "edit")`,
		}},
		"impersonating users": {clusterRole("r"), []string{"impersonate core users"}, []string{"it allows impersonate on users"}},
		"impersonating groups": {
			clusterRole("r"), []string{"impersonate core groups,serviceaccounts"}, []string{"it allows impersonate on groups, serviceaccounts"},
		},
		"impersonating uids": {
			clusterRole("r"), []string{"impersonate authentication.k8s.io uids"}, []string{"it allows impersonate on uids"},
		},
		"impersonating extras": {clusterRole("r"), []string{"impersonate authentication.k8s.io userextras/scopes"}, []string{
			"it allows impersonate on userextras/scopes",
		}},
		"impersonating one user": {
			clusterRole("r"), []string{"impersonate core users bob"}, []string{`it allows impersonate on users (only "bob")`},
		},
		"impersonating anything": {
			clusterRole("r"), []string{"impersonate core *"}, []string{"it allows impersonate on every resource (*)", "it allows impersonate on *"},
		},
		"constrained impersonation": {
			clusterRole("r"), []string{"impersonate:user-info authentication.k8s.io users"}, []string{"it allows impersonate:user-info on users"},
		},
		"constrained, of nodes": {clusterRole("r"), []string{"impersonate:arbitrary-node authentication.k8s.io nodes"}, []string{
			"it allows impersonate:arbitrary-node on nodes",
		}},
		"constrained, of ServiceAccounts": {clusterRole("r"), []string{"impersonate:serviceaccount authentication.k8s.io serviceaccounts"}, nil},
		"the same danger twice": {
			clusterRole("r"),
			[]string{"bind rbac.authorization.k8s.io roles", "bind rbac.authorization.k8s.io roles"},
			[]string{"it allows bind on roles"},
		},
		"every verb on paths":              {clusterRole("r"), []string{"* - -"}, []string{"it allows every verb (*) on none"}},
		"a resource that breaks the lines": {clusterRole("r"), []string{"bind core a\u202eb"}, []string{`it allows bind on a\u202eb`}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Dangers(tc.ref, rulesOf(tc.rules)); !slices.Equal(got, tc.want) {
				t.Errorf("dangers = %q, want %q", got, tc.want)
			}
		})
	}
}

func TestRisks(t *testing.T) {
	const can = "its holder can "
	first := func(text string) []string { return []string{can + text} }
	for name, tc := range map[string]struct {
		rules []string
		want  []string // how each begins
	}{
		"reading pods":           {[]string{"get,list,watch core pods,pods/log,configmaps"}, nil},
		"no rules":               {nil, nil},
		"exec":                   {[]string{"create core pods/exec"}, first("run commands in running pods")},
		"exec by GET":            {[]string{"get core pods/exec"}, first("run commands in running pods")},
		"exec of every resource": {[]string{"create core */exec"}, first("run commands in running pods")},
		"exec in another group":  {[]string{"create apps pods/exec"}, nil},
		"exec in every group":    {[]string{"create * pods/exec"}, first("run commands in running pods")},
		"attach":                 {[]string{"create core pods/attach"}, first("attach to running pods")},
		"port-forward":           {[]string{"create core pods/portforward"}, first("connect to any port")},
		"ephemeral containers":   {[]string{"patch core pods/ephemeralcontainers"}, first("put debugging containers")},
		"proxy":                  {[]string{"get core services/proxy"}, first("send requests to pods and services")},
		"listing secrets":        {[]string{"list core secrets"}, first("read secrets")},
		"writing secrets":        {[]string{"create core secrets"}, first("write secrets")},
		"deleting secrets":       {[]string{"delete core secrets"}, nil},
		"tokens":                 {[]string{"create core serviceaccounts/token"}, first("make tokens of service accounts")},
		"annotating accounts":    {[]string{"patch core serviceaccounts"}, first("annotate service accounts")},
		"GitOps objects": {
			[]string{"create argoproj.io applications", "patch helm.toolkit.fluxcd.io helmreleases"}, first("have a GitOps controller apply"),
		},
		"impersonating accounts": {[]string{"impersonate core serviceaccounts"}, first("act as service accounts")},
		"pods":                   {[]string{"create core pods"}, first("start pods")},
		"workloads":              {[]string{"patch apps deployments", "create batch jobs"}, first("start pods")},
		"volumes":                {[]string{"create core persistentvolumes"}, first("make persistent volumes")},
		"claims are harmless":    {[]string{"create core persistentvolumeclaims"}, nil},
		"namespaces":             {[]string{"patch core namespaces"}, first("change labels of namespaces")},
		"roles":                  {[]string{"update rbac.authorization.k8s.io roles"}, first("change roles")},
		"bindings":               {[]string{"create rbac.authorization.k8s.io rolebindings"}, first("give its own rights")},
		"webhooks": {
			[]string{"delete admissionregistration.k8s.io mutatingwebhookconfigurations"}, first("change admission webhooks"),
		},
		"admission policies": {
			[]string{"patch admissionregistration.k8s.io validatingadmissionpolicybindings"}, first("change admission policies"),
		},
		"nodes/proxy":  {[]string{"get core nodes/proxy"}, first("talk to kubelets")},
		"nodes":        {[]string{"patch core nodes"}, first("change nodes")},
		"certificates": {[]string{"create certificates.k8s.io certificatesigningrequests"}, first("ask for client certificates")},
		"certificates of pods": {
			[]string{"create certificates.k8s.io podcertificaterequests"},
			first("ask for certificates of pods, which outlive this access; refused in the namespace of the grant while it lasts"),
		},
		"certificate approval": {
			[]string{"update certificates.k8s.io certificatesigningrequests/approval"}, first("approve client certificates"),
		},
		"certificate signers": {[]string{"sign certificates.k8s.io signers"}, first("sign client certificates")},
		"API services":        {[]string{"create apiregistration.k8s.io apiservices"}, first("route parts of the API")},
		"endpoints": {
			[]string{"create core endpoints", "create discovery.k8s.io endpointslices"}, first("point services at addresses"),
		},
		"services":         {[]string{"patch core services"}, first("take traffic")},
		"services/status":  {[]string{"patch core services/status"}, first("take traffic")},
		"ingresses":        {[]string{"patch networking.k8s.io ingresses"}, first("take traffic from outside")},
		"leases":           {[]string{"update coordination.k8s.io leases"}, first("take the lead")},
		"network policies": {[]string{"delete networking.k8s.io networkpolicies"}, first("open the network")},
		"custom resources": {[]string{"update apiextensions.k8s.io customresourcedefinitions"}, first("change custom resources")},
		"trust bundles":    {[]string{"create certificates.k8s.io clustertrustbundles"}, first("change whose certificates")},
		"access policies":  {[]string{"create lapse.dev accesspolicies"}, first("change who gets access through Lapse")},
		"the worst first, in whatever order it is written": {
			[]string{"create core events", "list core secrets", "create core pods/exec", "get core nodes/proxy"},
			[]string{
				can + "talk to kubelets", can + "run commands", can + "read secrets", can + "write Events",
				"what it allows on nodes/proxy is not given",
			},
		},
		"every verb on secrets": {[]string{"* core secrets"}, []string{can + "read secrets", can + "write secrets"}},
		"reading every resource": {[]string{"get core *"}, []string{
			can + "talk to kubelets", can + "run commands", can + "attach", can + "read secrets", can + "send requests", can + "connect",
		}},
		"verbs of different rules": {[]string{"get core secrets", "create core configmaps"}, first("read secrets")},
		"a rule without groups":    {[]string{"get - secrets"}, nil},
		"a rule without verbs":     {[]string{"- core secrets"}, nil},
		"confined to names": {
			[]string{"get core secrets b,a"}, []string{can + `read secrets, with the passwords and tokens in them (only "a", "b")`},
		},
		"confined in two rules": {[]string{"get core secrets b", "list core secrets a"}, []string{
			can + `read secrets, with the passwords and tokens in them (only "a", "b")`,
		}},
		"confined, by several kinds of object": {[]string{"create core pods b", "patch apps deployments a", "patch batch jobs b"}, []string{
			can + `start pods that use any secret and service account of the namespace, and outlive this access (only "a", "b")`,
		}},
		"confined for one kind of object only": {
			[]string{"create core pods b", "create apps deployments"},
			[]string{can + "start pods that use any secret and service account of the namespace, and outlive this access"},
		},
		"confined in one rule only": {
			[]string{"get core secrets b", "list core secrets"}, []string{can + "read secrets, with the passwords and tokens in them"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := Risks(clusterRole("r"), rulesOf(tc.rules))
			if !slices.EqualFunc(got, tc.want, strings.HasPrefix) {
				t.Errorf("risks = %q, want %q", got, tc.want)
			}
			if strings.HasPrefix(name, "confined") && got[0] != tc.want[0] {
				t.Errorf("risk = %q, want %q", got[0], tc.want[0])
			}
		})
	}
	all := Risks(clusterRole("r"), rulesOf([]string{"* * *"}))
	for _, text := range all {
		if len(text) > 256 || strings.ContainsAny(text, "\n\"") {
			t.Errorf("risk %q does not fit status.risks", text)
		}
	}
	if len(all) != len(risks)-6 { // pods are started and GitOps used in three ways, endpoints and Events written in two
		t.Errorf("a role that may do everything has %d risks", len(all))
	}
}

// The patterns are those of https://kubernetes.io/docs/concepts/security/rbac-good-practices/.
func TestWhatTheGoodPracticesOfKubernetesWarnOfIsTold(t *testing.T) {
	const group = rbacv1.GroupName
	for pattern, tc := range map[string]struct {
		rules []string // of an aggregated role: those of all its pieces
		told  string
	}{
		"wildcard verbs":                      {[]string{"* apps deployments"}, "every verb (*) on deployments"},
		"wildcard resources":                  {[]string{"get apps *"}, "every resource (*)"},
		"wildcard resources in a list":        {[]string{"get core pods,*"}, "every resource (*)"},
		"wildcard everything":                 {[]string{"* * *"}, "every verb (*)"},
		"getting secrets":                     {[]string{"get core secrets"}, "read secrets"},
		"listing secrets":                     {[]string{"list core secrets"}, "read secrets"},
		"watching secrets":                    {[]string{"watch core secrets"}, "read secrets"},
		"creating pods":                       {[]string{"create core pods"}, "start pods"},
		"creating workloads":                  {[]string{"create apps deployments"}, "start pods"},
		"creating cron jobs":                  {[]string{"update batch cronjobs"}, "start pods"},
		"creating persistent volumes":         {[]string{"create core persistentvolumes"}, "persistent volumes"},
		"proxy to nodes":                      {[]string{"get core nodes/proxy"}, "talk to kubelets"},
		"proxy to nodes by every subresource": {[]string{"create core */proxy"}, "talk to kubelets"},
		"escalate":                            {[]string{"escalate " + group + " clusterroles"}, "escalate on clusterroles"},
		"bind":                                {[]string{"bind " + group + " roles"}, "bind on roles"},
		"impersonating users":                 {[]string{"impersonate core users"}, "impersonate on users"},
		"impersonating groups":                {[]string{"impersonate core groups"}, "impersonate on groups"},
		"impersonating service accounts":      {[]string{"impersonate core serviceaccounts"}, "act as service accounts"},
		"asking for certificates": {
			[]string{"create certificates.k8s.io certificatesigningrequests"}, "ask for client certificates",
		},
		"approving certificates": {
			[]string{"update certificates.k8s.io certificatesigningrequests/approval"}, "approve client certificates",
		},
		"requesting tokens": {[]string{"create core serviceaccounts/token"}, "make tokens"},
		"validating webhooks": {
			[]string{"create admissionregistration.k8s.io validatingwebhookconfigurations"}, "change admission webhooks",
		},
		"mutating webhooks": {
			[]string{"update admissionregistration.k8s.io mutatingwebhookconfigurations"}, "change admission webhooks",
		},
		"changing namespaces":    {[]string{"patch core namespaces"}, "labels of namespaces"},
		"commands in pods":       {[]string{"create core pods/exec"}, "run commands"},
		"debugging containers":   {[]string{"patch core pods/ephemeralcontainers"}, "debugging containers"},
		"giving roles to others": {[]string{"create " + group + " rolebindings"}, "give its own rights"},
		"one piece of many of an aggregated role": {
			[]string{"get core pods", "list apps deployments", "get,escalate " + group + " roles", "get core services"}, "escalate on roles",
		},
		"a group for all and a resource for one": {[]string{"list * secrets"}, "read secrets"},
	} {
		t.Run(pattern, func(t *testing.T) {
			rules := rulesOf(tc.rules)
			told := slices.Concat(Dangers(clusterRole("r"), rules), Risks(clusterRole("r"), rules))
			if !slices.ContainsFunc(told, func(text string) bool { return strings.Contains(text, tc.told) }) {
				t.Errorf("told is %q, want %q", told, tc.told)
			}
		})
	}
}
