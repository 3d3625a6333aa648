// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/test/controlplane"
)

const (
	// ManagedBindingGuard is the policy, and its binding, that guards RoleBindings.
	ManagedBindingGuard = "lapse-managed-binding"
	// ReservedGuard is the one that keeps grants out of kube-*.
	ReservedGuard = "lapse-reserved-namespaces"
	// RefusedEntry is the report entry in which a suite tells Refused.
	RefusedEntry = "what guards refused"
)

// RemoveGuard takes the binding of an admission policy away and waits until it is
// enforced no more; restore puts it back and waits until it is enforced again.
func RemoveGuard(ctx context.Context, plane *controlplane.ControlPlane, name string) (restore func(context.Context) error, err error) {
	admin, err := RawClient(plane.AdminConfig())
	if err != nil {
		return nil, err
	}
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}
	if err := admin.Get(ctx, client.ObjectKey{Name: name}, binding); err != nil {
		return nil, err
	}
	if err := admin.Delete(ctx, binding); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		again := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{Spec: binding.Spec}
		again.Name, again.Labels, again.Annotations = binding.Name, binding.Labels, binding.Annotations
		return errors.Join(client.IgnoreAlreadyExists(admin.Create(ctx, again)), awaitAdmission(ctx, plane))
	}, awaitAdmission(ctx, plane)
}

// RemoveAdmission takes all bindings of Lapse's policies and stamps away and waits until
// none is enforced. Install puts them back.
func RemoveAdmission(ctx context.Context, plane *controlplane.ControlPlane) error {
	admin, err := RawClient(plane.AdminConfig())
	if err != nil {
		return err
	}
	stamps, err := Stamps(plane.AdminConfig())
	if err != nil {
		return err
	}
	kinds := []client.Object{&admissionregistrationv1.ValidatingAdmissionPolicyBinding{}}
	if stamps {
		kinds = append(kinds, &admissionregistrationv1.MutatingAdmissionPolicyBinding{})
	}
	for _, kind := range kinds {
		if err := admin.DeleteAllOf(ctx, kind, client.MatchingLabels{"app.kubernetes.io/part-of": "lapse"}); err != nil {
			return err
		}
	}
	return awaitAdmission(ctx, plane)
}

// Refused says of each validating policy of Lapse whether the API server has refused anything
// by it, as its metrics count: not since it does not compile, or costs too much. They call each
// other refusal an invalid_error, also that of an expression which fails, as ErrorType of
// k8s.io/apiserver has it.
func Refused(ctx context.Context, plane *controlplane.ControlPlane) (map[string]bool, error) {
	admin, err := RawClient(plane.AdminConfig())
	if err != nil {
		return nil, err
	}
	policies := &admissionregistrationv1.ValidatingAdmissionPolicyList{}
	if err := admin.List(ctx, policies, client.MatchingLabels{"app.kubernetes.io/part-of": "lapse"}); err != nil {
		return nil, err
	}
	metrics, stderr, err := plane.Kubectl(ctx, plane.AdminConfig(), "get", "--raw", "/metrics")
	if err != nil {
		return nil, fmt.Errorf("reading the metrics of the API server: %w: %s", err, stderr)
	}
	refused := map[string]bool{}
	for i := range policies.Items {
		name := policies.Items[i].Name
		counted := regexp.MustCompile(`(?m)^apiserver_validating_admission_policy_check_total\{` +
			`enforcement_action="deny",error_type="invalid_error",[^}]*\bpolicy="` + name + `",`)
		refused[name] = counted.MatchString(metrics)
	}
	return refused, nil
}
