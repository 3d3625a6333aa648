// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/controlplane"
)

const (
	// ManagedBindingGuard is the policy, and its binding, that guards RoleBindings.
	ManagedBindingGuard = "lapse-managed-binding"
	// PersistenceGuard is the one that lets no holder of a grant make access last.
	PersistenceGuard = "lapse-persistence"
	// ReservedGuard is the one that keeps grants out of kube-*.
	ReservedGuard = "lapse-reserved-namespaces"

	probeName = "lapse-probe-00000000"
	probeUID  = "00000000-0000-0000-0000-000000000000"
)

// prober asks the API server whether policies are enforced.
type prober struct{ admin, operator client.Client }

func newProber(ctx context.Context, plane *controlplane.ControlPlane) (*prober, error) {
	config, err := plane.ServiceAccountConfig(ctx, Namespace, ServiceAccount)
	if err != nil {
		return nil, err
	}
	operator, err := Client(config)
	if err != nil {
		return nil, err
	}
	admin, err := Client(plane.AdminConfig())
	return &prober{admin: admin, operator: operator}, err
}

// RemoveGuard takes the binding of an admission policy away and waits until it is
// enforced no more; restore puts it back and waits until it is enforced again.
func RemoveGuard(ctx context.Context, plane *controlplane.ControlPlane, name string) (restore func(context.Context) error, err error) {
	p, err := newProber(ctx, plane)
	if err != nil {
		return nil, err
	}
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}
	if err := p.admin.Get(ctx, client.ObjectKey{Name: name}, binding); err != nil {
		return nil, err
	}
	if err := p.admin.Delete(ctx, binding); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		again := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{Spec: binding.Spec}
		again.Name, again.Labels, again.Annotations = binding.Name, binding.Labels, binding.Annotations
		return errors.Join(client.IgnoreAlreadyExists(p.admin.Create(ctx, again)), p.await(ctx, name, true))
	}, p.await(ctx, name, false)
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
	spoof := builders.Request("probe").In("default").By("nobody").To(builders.User("nobody")).Build()
	unnamed := builders.Request("probe").In("default").To(builders.User("nobody")).Build()
	return wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, installTimeout, true, func(ctx context.Context) (bool, error) {
		spoofed := admin.Create(ctx, spoof.DeepCopy(), client.DryRunAll)
		err := admin.Create(ctx, unnamed.DeepCopy(), client.DryRunAll)
		return spoofed == nil && err != nil && strings.Contains(err.Error(), "requester is missing"), nil
	})
}

// await polls until a guard is enforced, or is not, and takes traces away.
func (p *prober) await(ctx context.Context, guard string, want bool) error {
	probe := map[string]func(context.Context) (bool, error){
		"lapse-requester":   p.requester,
		ManagedBindingGuard: p.managedBinding,
		PersistenceGuard:    p.persistence,
		ReservedGuard:       p.reserved,
	}[guard]
	if probe == nil {
		return fmt.Errorf("there is no probe of the guard %s", guard)
	}
	var last error
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, installTimeout, true, func(ctx context.Context) (bool, error) {
		enforced, err := probe(ctx)
		last = err
		return err == nil && enforced == want, nil
	})
	trace := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: probeName}}
	if err := client.IgnoreNotFound(p.admin.Delete(ctx, trace)); err != nil {
		return err
	}
	if err != nil {
		return fmt.Errorf("waiting until %s is enforced (%t): %w", guard, want, errors.Join(err, last))
	}
	return nil
}

// requester says whether a requester is stamped, where that is served, and a false one
// refused.
func (p *prober) requester(ctx context.Context) (bool, error) {
	probe := builders.Request("admission-probe").In("default").Build()
	if err := p.admin.Create(ctx, probe, client.DryRunAll); err != nil {
		return false, err // p.admin names himself where nothing is stamped
	}
	spoof := builders.Request("admission-probe").In("default").By("nobody").To(builders.User("nobody")).Build()
	refused, err := refusal(p.admin.Create(ctx, spoof, client.DryRunAll))
	return refused && probe.Spec.Requester != nil, err
}

// managedBinding says whether an admin is refused a name of Lapse's.
func (p *prober) managedBinding(ctx context.Context) (bool, error) {
	return refusal(p.admin.Create(ctx, probeBinding(), client.DryRunAll))
}

// persistence lets the admin hold a grant in the namespace default, and says whether
// he is refused a ServiceAccount there.
func (p *prober) persistence(ctx context.Context) (bool, error) {
	if err := client.IgnoreAlreadyExists(p.operator.Create(ctx, probeBinding())); err != nil {
		return false, err
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "admission-probe"}}
	other := builders.Binding("default", "admission-probe", "view", builders.User("nobody"))
	refused, err := refusal(p.admin.Create(ctx, account, client.DryRunAll))
	if refused && err == nil { // the part for RoleBindings is a policy of its own
		refused, err = refusal(p.admin.Create(ctx, other, client.DryRunAll))
	}
	if refused || err != nil {
		return refused, err
	}
	// The garbage collector takes it, as nobody owns it; then this was no answer.
	return false, p.admin.Get(ctx, client.ObjectKeyFromObject(probeBinding()), &rbacv1.RoleBinding{})
}

// reserved says whether the operator is refused a RoleBinding in kube-system, and not by
// RBAC.
func (p *prober) reserved(ctx context.Context) (bool, error) {
	probe := probeBinding()
	probe.Namespace = "kube-system"
	err := p.operator.Create(ctx, probe, client.DryRunAll)
	if err != nil && strings.Contains(err.Error(), "ValidatingAdmissionPolicy '"+ReservedGuard+"'") {
		return true, nil
	}
	return false, err
}

// refusal tells a refusal from a failure.
func refusal(err error) (bool, error) {
	if apierrors.IsInvalid(err) || apierrors.IsForbidden(err) {
		return true, nil
	}
	return false, err
}

// probeBinding gives the admin a role that the operator holds itself.
func probeBinding() *rbacv1.RoleBinding {
	soon := time.Now().Add(20 * time.Second).UTC().Format(time.RFC3339)
	b := builders.Binding("default", probeName, "lapse-auditor", builders.User("admin"))
	b.Labels = map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy, v1alpha1.RequestUIDLabel: probeUID}
	b.Annotations = map[string]string{
		v1alpha1.ExpiresAtAnnotation: soon, v1alpha1.CreateByAnnotation: soon, v1alpha1.RequestAnnotation: "probe",
	}
	b.OwnerReferences = []metav1.OwnerReference{
		{APIVersion: v1alpha1.GroupVersion.String(), Kind: "AccessRequest", Name: "probe", UID: probeUID},
	}
	return b
}
