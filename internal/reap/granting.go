// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package reap

import (
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/lapse-dev/lapse/internal/text"
)

// GrantingBinding is the ClusterRoleBinding by which the operator may make RoleBindings.
const GrantingBinding = "lapse-granting"

// OperatorNamespace and OperatorAccount are where and who the operator is; the admission policies
// know it by these names, so they are the same everywhere.
const (
	OperatorNamespace = "lapse-system"
	OperatorAccount   = "lapse-manager"
)

// OperatorMay asks whether the operator may do something.
func OperatorMay(what authorizationv1.ResourceAttributes) *authorizationv1.SubjectAccessReview {
	return &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User:               "system:serviceaccount:" + OperatorNamespace + ":" + OperatorAccount,
		Groups:             []string{"system:serviceaccounts", "system:serviceaccounts:" + OperatorNamespace, "system:authenticated"},
		ResourceAttributes: &what,
	}}
}

// Granting is what a grant takes: to make RoleBindings, in all namespaces at once. The right to
// make them in one namespace, by a RoleBinding there, is not what is asked for.
func Granting() authorizationv1.ResourceAttributes {
	return authorizationv1.ResourceAttributes{Verb: "create", Group: rbacv1.GroupName, Version: "v1", Resource: "rolebindings"}
}

// Allowed is what was answered. An authorizer that could not tell might have allowed it.
func Allowed(review *authorizationv1.SubjectAccessReview) (bool, error) {
	s := review.Status
	if !s.Allowed && !s.Denied && s.EvaluationError != "" {
		return false, fmt.Errorf("the authorizer could not tell: %s", text.Line(s.EvaluationError))
	}
	return s.Allowed && !s.Denied, nil
}
