// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package builders

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// Rule is one of a role.
func Rule(group, resource string, verbs ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: verbs}
}

// ClusterRole allows what its rules say.
func ClusterRole(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
}

// Bindable is what an admin creates to let the operator bind clusterroles, or roles, of
// these names.
func Bindable(resource string, names ...string) *rbacv1.ClusterRole {
	rule := Rule(rbacv1.GroupName, resource, "bind")
	rule.ResourceNames = names
	role := ClusterRole("bindable-"+resource+"-"+strings.Join(names, "-"), rule)
	role.Labels = map[string]string{v1alpha1.BindableLabel: "true"}
	return role
}

// ClusterBinding gives a ClusterRole to somebody in all namespaces.
func ClusterBinding(name, clusterRole string, to v1alpha1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: roleRef(clusterRole), Subjects: []rbacv1.Subject{subject(to)},
	}
}

// Binding gives a ClusterRole to somebody in a namespace.
func Binding(namespace, name, clusterRole string, to v1alpha1.Subject) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		RoleRef:    roleRef(clusterRole), Subjects: []rbacv1.Subject{subject(to)},
	}
}

func roleRef(clusterRole string) rbacv1.RoleRef {
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: clusterRole}
}

func subject(s v1alpha1.Subject) rbacv1.Subject {
	out := rbacv1.Subject{Kind: s.Kind, Namespace: s.Namespace, Name: s.Name}
	if s.Kind != v1alpha1.ServiceAccountKind {
		out.APIGroup = rbacv1.GroupName
	}
	return out
}
