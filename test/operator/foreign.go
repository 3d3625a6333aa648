// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"context"
	"errors"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Foreign is what an admission policy of somebody else's sees: an operation on a
// resource in a namespace.
type Foreign struct {
	Namespace, Group, Resource string
	Operation                  admissionregistrationv1.OperationType
}

func (f Foreign) matches() *admissionregistrationv1.MatchResources {
	return &admissionregistrationv1.MatchResources{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: f.Namespace}},
		ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
			Operations: []admissionregistrationv1.OperationType{f.Operation},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{f.Group}, APIVersions: []string{"*"}, Resources: []string{f.Resource}},
		}}},
	}
}

// Refuse installs a policy that refuses all of it with a message. That takes a second or
// two to be in force; the caller sees when.
func (f Foreign) Refuse(ctx context.Context, c client.Client, message string) (remove func(context.Context) error, err error) {
	p := &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{GenerateName: "foreign-"}}
	p.Spec.MatchConstraints = f.matches()
	p.Spec.Validations = []admissionregistrationv1.Validation{{Expression: "false", Message: message}}
	if err := c.Create(ctx, p); err != nil {
		return nil, err
	}
	b := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: p.Name}}
	b.Spec.PolicyName, b.Spec.ValidationActions = p.Name, []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny}
	return removing(c, p, b), c.Create(ctx, b)
}

// Mutate installs a policy that changes the object by an expression of type JSONPatch.
func (f Foreign) Mutate(ctx context.Context, c client.Client, patch string) (remove func(context.Context) error, err error) {
	p := &admissionregistrationv1.MutatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{GenerateName: "foreign-"}}
	p.Spec.MatchConstraints, p.Spec.ReinvocationPolicy = f.matches(), admissionregistrationv1.NeverReinvocationPolicy
	p.Spec.Mutations = []admissionregistrationv1.Mutation{{
		PatchType: admissionregistrationv1.PatchTypeJSONPatch, JSONPatch: &admissionregistrationv1.JSONPatch{Expression: patch},
	}}
	if err := c.Create(ctx, p); err != nil {
		return nil, err
	}
	b := &admissionregistrationv1.MutatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: p.Name}}
	b.Spec.PolicyName = p.Name
	return removing(c, p, b), c.Create(ctx, b)
}

func removing(c client.Client, policy, binding client.Object) func(context.Context) error {
	return func(ctx context.Context) error {
		return errors.Join(client.IgnoreNotFound(c.Delete(ctx, binding)), client.IgnoreNotFound(c.Delete(ctx, policy)))
	}
}
