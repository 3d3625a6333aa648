// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/text"
)

// clusterScoped are the resources of Kubernetes' own API groups that are in no namespace:
// the types of k8s.io/api, apiextensions-apiserver, kube-aggregator and metrics, 1.31 to 1.37,
// that are marked +genclient:nonNamespaced. Namespaces are left out: the API server asks
// whether somebody may get one in that namespace itself, where a RoleBinding may say yes.
// What is not here counts as being in a namespace.
var clusterScoped = map[string]sets.Set[string]{
	coreGroup: sets.New("nodes", "persistentvolumes", "componentstatuses"),
	admissionGroup: sets.New("validatingwebhookconfigurations", "mutatingwebhookconfigurations", "validatingadmissionpolicies",
		"validatingadmissionpolicybindings", "mutatingadmissionpolicies", "mutatingadmissionpolicybindings"),
	"apiextensions.k8s.io":         sets.New("customresourcedefinitions"),
	"apiregistration.k8s.io":       sets.New("apiservices"),
	"authentication.k8s.io":        sets.New("tokenreviews", "selfsubjectreviews"),
	"authorization.k8s.io":         sets.New("subjectaccessreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews"),
	certificatesGroup:              sets.New("certificatesigningrequests", "clustertrustbundles"),
	"flowcontrol.apiserver.k8s.io": sets.New("flowschemas", "prioritylevelconfigurations"),
	"internal.apiserver.k8s.io":    sets.New("storageversions"),
	"metrics.k8s.io":               sets.New("nodes"),
	"networking.k8s.io":            sets.New("ingressclasses", "ipaddresses", "servicecidrs"),
	"node.k8s.io":                  sets.New("runtimeclasses"),
	rbacv1.GroupName:               sets.New(clusterRoles, "clusterrolebindings"),
	"resource.k8s.io":              sets.New("deviceclasses", "devicetaintrules", "resourceslices", "resourcepoolstatusrequests"),
	"scheduling.k8s.io":            sets.New("priorityclasses"),
	"storage.k8s.io":               sets.New("csidrivers", "csinodes", "storageclasses", "volumeattachments", "volumeattributesclasses"),
	"storagemigration.k8s.io":      sets.New("storageversionmigrations"),
}

const clusterRoles = "clusterroles"

// reach is how much of a role a RoleBinding gives.
type reach struct {
	// some says that there is something that it gives.
	some bool
	// beyond names what it does not give, in order.
	beyond []string
}

// reachOf takes time by the length of the rules alone: whoever writes a role could make its
// groups times its resources very many.
func reachOf(rules []rbacv1.PolicyRule) reach {
	some, beyond := false, sets.New[string]()
	for _, rule := range rules {
		if len(rule.Verbs) == 0 {
			continue
		}
		for _, url := range rule.NonResourceURLs {
			beyond.Insert(short(url))
		}
		for group := range sets.New(rule.APIGroups...) {
			known, builtIn := clusterScoped[group]
			if !builtIn {
				some = some || len(rule.Resources) > 0
				continue
			}
			for _, resource := range rule.Resources {
				base, _, _ := strings.Cut(resource, "/")
				if !known.Has(base) || bindsClusterRoles(rule, group, base) {
					some = true
					continue
				}
				beyond.Insert(resourceText(group, resource))
			}
		}
	}
	return reach{some, sets.List(beyond)}
}

// bindsClusterRoles: whether somebody may bind a ClusterRole by a RoleBinding is asked in
// the namespace of that.
func bindsClusterRoles(rule rbacv1.PolicyRule, group, resource string) bool {
	return group == rbacv1.GroupName && resource == clusterRoles &&
		(slices.Contains(rule.Verbs, "bind") || slices.Contains(rule.Verbs, rbacv1.VerbAll))
}

// nowhere is why a RoleBinding gives none of it.
const nowhere = "in no namespace, and a grant reaches one namespace alone"

// GivesNothing says why a role gives nothing through a RoleBinding, and what to do; empty when
// it gives something, or its rules are not known. It is judged by the rules that it has now.
func GivesNothing(ref v1alpha1.RoleRef, role Role) string {
	reach := reachOf(role.Rules)
	switch {
	case role.Unread || reach.some:
		return ""
	case len(reach.beyond) == 0:
		return roleText(ref) + " has no rules, so that it gives nothing"
	default:
		return fmt.Sprintf("%s gives nothing here: all that it allows (%s) is %s; ask for a role that allows something in a namespace, "+
			"or have a cluster admin make a ClusterRoleBinding, which Lapse does not", roleText(ref), list(reach.beyond), nowhere)
	}
}

// partText says what part of a role gives nothing; empty if there is none, or if it is all.
func partText(rules []rbacv1.PolicyRule) string {
	reach := reachOf(rules)
	if !reach.some || len(reach.beyond) == 0 {
		return ""
	}
	return "what it allows on " + list(reach.beyond) + " is not given: that is " + nowhere
}

// Useless are the ClusterRoles of a policy that give nothing, each with why. The rest of the
// policy holds. The error is that of roles.
func Useless(p *v1alpha1.AccessPolicy, roles RoleLookup) (out []string, err error) {
	for i, ref := range p.Spec.Roles {
		if ref.Kind != v1alpha1.ClusterRoleKind {
			continue // it differs by namespace
		}
		role, found, err := roles(ref)
		if err != nil {
			return nil, err
		}
		if why := GivesNothing(ref, role); found && why != "" {
			out = append(out, text.Cut(fmt.Sprintf("roles[%d] %s", i, why), maxProblem))
		}
	}
	return out, nil
}
