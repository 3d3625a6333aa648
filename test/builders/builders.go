// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package builders makes objects for tests. Every method returns a copy, so that a
// shared base stays as it is, and Build returns a valid object by default.
package builders

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// RequestBuilder builds an AccessRequest.
type RequestBuilder struct{ obj v1alpha1.AccessRequest }

// Request asks for ClusterRole view for a minute.
func Request(name string) RequestBuilder {
	b := RequestBuilder{}
	b.obj.Name = name
	b.obj.Spec.RoleRef = v1alpha1.RoleRef{Kind: v1alpha1.ClusterRoleKind, Name: "view"}
	b.obj.Spec.Reason = "INC-1: a test"
	return b.Lasting(time.Minute)
}

// In sets the namespace.
func (b RequestBuilder) In(namespace string) RequestBuilder {
	b.obj.Namespace = namespace
	return b
}

// ForClusterRole asks for a ClusterRole.
func (b RequestBuilder) ForClusterRole(name string) RequestBuilder {
	b.obj.Spec.RoleRef = v1alpha1.RoleRef{Kind: v1alpha1.ClusterRoleKind, Name: name}
	return b
}

// ForRole asks for a Role.
func (b RequestBuilder) ForRole(name string) RequestBuilder {
	b.obj.Spec.RoleRef = v1alpha1.RoleRef{Kind: v1alpha1.RoleKind, Name: name}
	return b
}

// Lasting sets the duration; zero leaves it to the policy.
func (b RequestBuilder) Lasting(d time.Duration) RequestBuilder {
	b.obj.Spec.Duration = nil
	if d != 0 {
		b.obj.Spec.Duration = &metav1.Duration{Duration: d}
	}
	return b
}

// NotBefore sets the earliest moment.
func (b RequestBuilder) NotBefore(t time.Time) RequestBuilder {
	b.obj.Spec.NotBefore = &metav1.Time{Time: t}
	return b
}

// NotAfter sets the latest moment.
func (b RequestBuilder) NotAfter(t time.Time) RequestBuilder {
	b.obj.Spec.NotAfter = &metav1.Time{Time: t}
	return b
}

// To asks for somebody.
func (b RequestBuilder) To(s v1alpha1.Subject) RequestBuilder {
	b.obj.Spec.Subject = &s
	return b
}

// By sets the requester, as the API server would stamp it.
func (b RequestBuilder) By(username string, groups ...string) RequestBuilder {
	b.obj.Spec.Requester = &v1alpha1.Identity{Username: username, Groups: groups}
	return b
}

// Because sets the reason.
func (b RequestBuilder) Because(reason string) RequestBuilder {
	b.obj.Spec.Reason = reason
	return b
}

// UnderPolicy names the only policy that may allow it.
func (b RequestBuilder) UnderPolicy(name string) RequestBuilder {
	b.obj.Spec.PolicyName = name
	return b
}

// Build returns the request.
func (b RequestBuilder) Build() *v1alpha1.AccessRequest { return b.obj.DeepCopy() }

// PolicyBuilder builds an AccessPolicy.
type PolicyBuilder struct{ obj v1alpha1.AccessPolicy }

// Policy lets alice have ClusterRole view for at most four hours, nowhere yet.
func Policy(name string) PolicyBuilder {
	b := PolicyBuilder{}
	b.obj.Name = name
	b.obj.Spec.MaxDuration = metav1.Duration{Duration: 4 * time.Hour}
	return b.From(User("alice")).Allowing("view")
}

// From sets the requesters.
func (b PolicyBuilder) From(subjects ...v1alpha1.Subject) PolicyBuilder {
	b.obj.Spec.Requesters = subjects
	return b
}

// To sets the grantees.
func (b PolicyBuilder) To(subjects ...v1alpha1.Subject) PolicyBuilder {
	b.obj.Spec.Grantees = subjects
	return b
}

// Allowing sets the ClusterRoles.
func (b PolicyBuilder) Allowing(clusterRoles ...string) PolicyBuilder {
	b.obj.Spec.Roles = nil
	for _, name := range clusterRoles {
		b.obj.Spec.Roles = append(b.obj.Spec.Roles, v1alpha1.RoleRef{Kind: v1alpha1.ClusterRoleKind, Name: name})
	}
	return b
}

// AllowingRole adds a Role.
func (b PolicyBuilder) AllowingRole(name string) PolicyBuilder {
	b.obj.Spec.Roles = append(slices.Clone(b.obj.Spec.Roles), v1alpha1.RoleRef{Kind: v1alpha1.RoleKind, Name: name})
	return b
}

// In sets the namespaces.
func (b PolicyBuilder) In(namespaces ...string) PolicyBuilder {
	b.obj.Spec.Namespaces.Names = namespaces
	return b
}

// Selecting selects namespaces by a label.
func (b PolicyBuilder) Selecting(key, value string) PolicyBuilder {
	b.obj.Spec.Namespaces.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
	return b
}

// SelectingBy selects namespaces whose labels meet all requirements.
func (b PolicyBuilder) SelectingBy(all ...metav1.LabelSelectorRequirement) PolicyBuilder {
	b.obj.Spec.Namespaces.Selector = &metav1.LabelSelector{MatchExpressions: all}
	return b
}

// AtMost sets the longest duration.
func (b PolicyBuilder) AtMost(d time.Duration) PolicyBuilder {
	b.obj.Spec.MaxDuration = metav1.Duration{Duration: d}
	return b
}

// If adds a condition.
func (b PolicyBuilder) If(expression, message string) PolicyBuilder {
	b.obj.Spec.Conditions = append(slices.Clone(b.obj.Spec.Conditions), v1alpha1.PolicyCondition{Expression: expression, Message: message})
	return b
}

// ApprovedBy asks for the approval of one of the subjects.
func (b PolicyBuilder) ApprovedBy(subjects ...v1alpha1.Subject) PolicyBuilder {
	b.obj.Spec.Approvals = append(slices.Clone(b.obj.Spec.Approvals), v1alpha1.ApprovalRule{From: subjects, Count: 1})
	return b
}

// RevokedBy sets those who may end access besides the approvers.
func (b PolicyBuilder) RevokedBy(subjects ...v1alpha1.Subject) PolicyBuilder {
	b.obj.Spec.Revokers = subjects
	return b
}

// WithinApprovalTimeout sets how long a request may wait for approval.
func (b PolicyBuilder) WithinApprovalTimeout(d time.Duration) PolicyBuilder {
	b.obj.Spec.ApprovalTimeout = &metav1.Duration{Duration: d}
	return b
}

// OnRoleChange sets what happens when a role that is held changes.
func (b PolicyBuilder) OnRoleChange(action v1alpha1.RoleChangeAction) PolicyBuilder {
	b.obj.Spec.OnRoleChange = action
	return b
}

// WhileHeld sets what holders may make in the namespace.
func (b PolicyBuilder) WhileHeld(what v1alpha1.WhileHeld) PolicyBuilder {
	b.obj.Spec.WhileHeld = what
	return b
}

// SharingUIDs has it that several people may have one UID.
func (b PolicyBuilder) SharingUIDs() PolicyBuilder {
	b.obj.Spec.UIDIsShared = true
	return b
}

// Build returns the policy.
func (b PolicyBuilder) Build() *v1alpha1.AccessPolicy { return b.obj.DeepCopy() }

// User is a User.
func User(name string) v1alpha1.Subject { return v1alpha1.Subject{Kind: v1alpha1.UserKind, Name: name} }

// Group is a Group.
func Group(name string) v1alpha1.Subject {
	return v1alpha1.Subject{Kind: v1alpha1.GroupKind, Name: name}
}

// ServiceAccount is a ServiceAccount.
func ServiceAccount(namespace, name string) v1alpha1.Subject {
	return v1alpha1.Subject{Kind: v1alpha1.ServiceAccountKind, Namespace: namespace, Name: name}
}

// Namespace is a namespace with labels, given as pairs of key and value.
func Namespace(name string, labels ...string) *corev1.Namespace {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for i := 0; i+1 < len(labels); i += 2 {
		if ns.Labels == nil {
			ns.Labels = map[string]string{}
		}
		ns.Labels[labels[i]] = labels[i+1]
	}
	return ns
}

// Decision is a verdict on a request.
func Decision(name string, req *v1alpha1.AccessRequest, verdict v1alpha1.Verdict) *v1alpha1.AccessDecision {
	return &v1alpha1.AccessDecision{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: req.Namespace},
		Spec: v1alpha1.AccessDecisionSpec{
			RequestRef: v1alpha1.RequestReference{Name: req.Name, UID: req.UID},
			Verdict:    verdict,
		},
	}
}
