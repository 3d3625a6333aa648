// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// The policies that prove who asks and who decides.
const (
	RequesterPolicy = "lapse-requester"
	ReviewerPolicy  = "lapse-reviewer"
)

// Probes are a request and a decision with nothing wrong but the name of somebody else.
// They are to be created with dryRun=All, never stored.
func Probes(namespace string) (*v1alpha1.AccessRequest, *v1alpha1.AccessDecision) {
	const none, reason = "none", "a try in a false name, to see that it is refused; never stored"
	nobody := &v1alpha1.Identity{Username: "lapse:nobody"}
	request := &v1alpha1.AccessRequest{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "lapse-canary"},
		Spec: v1alpha1.AccessRequestSpec{
			RoleRef: v1alpha1.RoleRef{Kind: v1alpha1.ClusterRoleKind, Name: "view"}, Reason: reason,
			Requester: nobody, Subject: &v1alpha1.Subject{Kind: v1alpha1.UserKind, Name: nobody.Username},
		},
	}
	decision := &v1alpha1.AccessDecision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: "lapse-canary",
			OwnerReferences: []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "AccessRequest", Name: none, UID: none}},
		},
		Spec: v1alpha1.AccessDecisionSpec{
			RequestRef: v1alpha1.RequestReference{Name: none, UID: none}, Verdict: v1alpha1.VerdictApprove, Comment: reason, Reviewer: nobody,
		},
	}
	return request, decision
}

// RefusedName says whether an answer to a probe is the refusal of that policy, for the name.
// RBAC and policies of others refuse as well, and prove nothing.
func RefusedName(err error, policy string) bool {
	return err != nil && strings.Contains(err.Error(), "ValidatingAdmissionPolicy '"+policy+"'") &&
		strings.Contains(err.Error(), "must be left out or name you")
}
