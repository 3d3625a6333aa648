// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// API groups of risks.
const (
	coreGroup         = ""
	admissionGroup    = "admissionregistration.k8s.io"
	certificatesGroup = "certificates.k8s.io"
)

var (
	reads  = []string{"get", "list", "watch"}
	writes = []string{"create", "update", "patch"}
	// removes are writes, for objects whose absence opens a door.
	removes = []string{"create", "update", "patch", "delete", "deletecollection"}
)

const (
	// guarded is said of what lapse-persistence refuses to the holder of a grant.
	guarded = "; refused in the namespace of the grant while it lasts"
	gitOps  = "have a GitOps controller apply what it says, with the rights of that controller"
)

// risk is something that a role may allow and an approver should know.
type risk struct {
	group     string
	resources []string
	verbs     []string
	text      string
}

// risks follow Kubernetes' good practices for RBAC, the worst first: approvers may not read to
// the end.
var risks = []risk{
	// Whoever has one of these may come to hold the whole cluster.
	{coreGroup, []string{"nodes/proxy"}, []string{"create", "get", "update", "patch", "delete"}, "talk to kubelets: run commands in all pods of a node, past audit and admission"},
	{certificatesGroup, []string{"signers"}, []string{"approve", "sign"}, "sign client certificates, also in the names of others"},
	{certificatesGroup, []string{"certificatesigningrequests/approval", "certificatesigningrequests/status"}, []string{"update", "patch"}, "approve client certificates, also in the names of others"},
	{admissionGroup, []string{"validatingadmissionpolicies", "validatingadmissionpolicybindings", "mutatingadmissionpolicies", "mutatingadmissionpolicybindings"}, removes, "change admission policies, those that hold Lapse's promises included"},
	{admissionGroup, []string{"validatingwebhookconfigurations", "mutatingwebhookconfigurations"}, removes, "change admission webhooks, which see and alter what others write, secrets included"},
	{v1alpha1.GroupVersion.Group, []string{"accesspolicies"}, removes, "change who gets access through Lapse"},
	{"apiregistration.k8s.io", []string{"apiservices"}, removes, "route parts of the API to servers of its own, which see what others send"},
	{"apiextensions.k8s.io", []string{"customresourcedefinitions"}, removes, "change custom resources, and have them pass through a server of its own; deleting one deletes all objects of its kind"},
	{coreGroup, []string{"persistentvolumes"}, writes, "make persistent volumes, such as ones that open the file system of a node"},
	{certificatesGroup, []string{"clustertrustbundles"}, removes, "change whose certificates pods trust"},
	{coreGroup, []string{"namespaces"}, []string{"update", "patch"}, "change labels of namespaces, which decide about pod security, network policies and access policies"},
	{coreGroup, []string{"nodes"}, []string{"update", "patch"}, "change nodes: their labels and taints decide where pods run"},
	// More rights than the role has, in the namespace.
	{coreGroup, []string{"serviceaccounts"}, []string{"impersonate", "impersonate:serviceaccount"}, "act as service accounts, with all that those may do, also what is refused to the holder"},
	{coreGroup, []string{"pods/exec"}, []string{"create", "get"}, "run commands in running pods, with all that those pods may do"},
	{coreGroup, []string{"pods/ephemeralcontainers"}, []string{"update", "patch"}, "put debugging containers into running pods, with all that those pods may do"},
	{coreGroup, []string{"pods", "replicationcontrollers", "podtemplates"}, writes, "start pods that use any secret and service account of the namespace, and outlive this access"},
	{"apps", []string{"deployments", "daemonsets", "statefulsets", "replicasets"}, writes, "start pods that use any secret and service account of the namespace, and outlive this access"},
	{"batch", []string{"jobs", "cronjobs"}, writes, "start pods that use any secret and service account of the namespace, and outlive this access"},
	{"kustomize.toolkit.fluxcd.io", []string{"kustomizations"}, writes, gitOps},
	{"helm.toolkit.fluxcd.io", []string{"helmreleases"}, writes, gitOps},
	{"argoproj.io", []string{"applications", "applicationsets"}, writes, gitOps},
	{coreGroup, []string{"pods/attach"}, []string{"create", "get"}, "attach to running pods, read their output and type into them"},
	{coreGroup, []string{"secrets"}, reads, "read secrets, with the passwords and tokens in them"},
	{coreGroup, []string{"secrets"}, writes, "write secrets, which applications and controllers trust"},
	{coreGroup, []string{"serviceaccounts"}, writes, "annotate service accounts, and so give pods an identity at the cloud provider that outlives this access"},
	{coreGroup, []string{"serviceaccounts/token"}, []string{"create"}, "make tokens of service accounts" + guarded},
	{certificatesGroup, []string{"certificatesigningrequests"}, []string{"create"}, "ask for client certificates, which outlive this access once they are approved"},
	{certificatesGroup, []string{"podcertificaterequests"}, []string{"create"}, "ask for certificates of pods, which outlive this access" + guarded},
	{rbacv1.GroupName, []string{"rolebindings", "clusterrolebindings"}, writes, "give its own rights to others" + guarded},
	{rbacv1.GroupName, []string{"roles", "clusterroles"}, writes, "change roles, within the holder's own rights" + guarded},
	// What others are served, or see.
	{coreGroup, []string{"pods/proxy", "services/proxy"}, []string{"create", "get", "update", "patch", "delete"}, "send requests to pods and services through the API server, past network policies"},
	{coreGroup, []string{"pods/portforward"}, []string{"create", "get"}, "connect to any port of running pods, past network policies"},
	{coreGroup, []string{"services", "services/status"}, writes, "take traffic meant for other addresses, by external or load balancer IPs of services"},
	{"networking.k8s.io", []string{"ingresses"}, writes, "take traffic from outside the cluster, also for names that others serve"},
	{coreGroup, []string{"endpoints"}, writes, "point services at addresses in other namespaces"},
	{"discovery.k8s.io", []string{"endpointslices"}, writes, "point services at addresses in other namespaces"},
	{"networking.k8s.io", []string{"networkpolicies"}, removes, "open the network of pods, or close it"},
	{"coordination.k8s.io", []string{"leases"}, removes, "take the lead from controllers that run in the namespace, and so stop them"},
	{coreGroup, []string{"events"}, removes, "write Events in the name of others, and delete those that tell of it"},
	{"events.k8s.io", []string{"events"}, removes, "write Events in the name of others, and delete those that tell of it"},
}

// Risks are the lesser risks of a role: what an approver should know that its holder
// could do, in plain words, the worst first; empty when there are none known.
// Wildcards count. A risk that is confined to resourceNames says so. That a part of the role
// is not given by a RoleBinding is told last.
func Risks(_ v1alpha1.RoleRef, rules []rbacv1.PolicyRule) []string {
	return textsOf(risksOf(rules), func(r ranked) string { return r.text })
}

// ranked is something to tell: the lower its rank, the worse it is.
type ranked struct {
	rank int
	text string
}

func risksOf(rules []rbacv1.PolicyRule) (out []ranked) {
	for i, n := 0, 0; i < len(risks); i += n {
		// Several kinds of object, one after the other in the list, bring one and the same risk.
		for n = 1; i+n < len(risks) && risks[i+n].text == risks[i].text; {
			n++
		}
		if names, found := broughtBy(rules, risks[i:i+n]); found {
			out = append(out, ranked{i, "its holder can " + risks[i].text + onlyText(names)})
		}
	}
	if part := partText(rules); part != "" {
		out = append(out, ranked{len(risks), part})
	}
	return out
}

// broughtBy says whether the rules bring one of the risks; names are those to which they
// confine it, none when they do not.
func broughtBy(rules []rbacv1.PolicyRule, same []risk) (names []string, found bool) {
	confined := true
	for _, rule := range rules {
		if !slices.ContainsFunc(same, func(r risk) bool { return r.by(rule) }) {
			continue
		}
		found = true
		confined = confined && len(rule.ResourceNames) > 0
		names = append(names, rule.ResourceNames...)
	}
	if !confined {
		return nil, found
	}
	slices.Sort(names)
	return slices.Compact(names), found
}

func (r risk) by(rule rbacv1.PolicyRule) bool {
	return slices.ContainsFunc(rule.APIGroups, func(group string) bool { return group == rbacv1.APIGroupAll || group == r.group }) &&
		slices.ContainsFunc(rule.Resources, r.concerns) &&
		slices.ContainsFunc(rule.Verbs, func(verb string) bool { return verb == rbacv1.VerbAll || slices.Contains(r.verbs, verb) })
}

// concerns says whether a resource of a rule, such as pods/exec, *, or */exec, covers
// one of the risk.
func (r risk) concerns(resource string) bool {
	if resource == rbacv1.ResourceAll || slices.Contains(r.resources, resource) {
		return true
	}
	subresource, all := strings.CutPrefix(resource, rbacv1.ResourceAll+"/")
	return all && slices.ContainsFunc(r.resources, func(own string) bool { return strings.HasSuffix(own, "/"+subresource) })
}
