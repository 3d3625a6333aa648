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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/test/controlplane"
)

// awaitAdmission waits until the API server enforces what was done to admission policies
// and their bindings before. It sees them by watches, in order: one that is created now
// is enforced after all that came before.
func awaitAdmission(ctx context.Context, plane *controlplane.ControlPlane) (err error) {
	admin, err := RawClient(plane.AdminConfig())
	if err != nil {
		return err
	}
	stamps, err := Stamps(plane.AdminConfig())
	if err != nil {
		return err
	}
	last := "lapse-test-last-" + rand.String(8) // what is gone may be enforced still
	objects := lastValidating(last)
	if stamps {
		objects = append(objects, lastMutating(last)...)
	}
	defer func() {
		for _, object := range objects {
			err = errors.Join(err, client.IgnoreNotFound(admin.Delete(ctx, object)))
		}
	}()
	for _, object := range objects {
		if err := admin.Create(ctx, object); err != nil {
			return err
		}
	}
	var answer error
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, installTimeout, true, func(ctx context.Context) (bool, error) {
		// The label that is stamped is what the refusal shows.
		probe := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: last}}
		answer = admin.Create(ctx, probe, client.DryRunAll)
		want := last + " without stamp"
		if stamps {
			want = last + " with stamp"
		}
		return answer != nil && strings.Contains(answer.Error(), want), nil
	})
	if err != nil {
		return fmt.Errorf("waiting until admission policies are enforced: %w", errors.Join(err, answer))
	}
	return nil
}

func lastMatch(last string) *admissionregistrationv1.MatchResources {
	return &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
		ResourceNames: []string{last},
		RuleWithOperations: admissionregistrationv1.RuleWithOperations{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
		},
	}}}
}

// lastValidating refuses a ConfigMap of that name, and says whether it has the stamp.
func lastValidating(last string) []client.Object {
	return []client.Object{
		&admissionregistrationv1.ValidatingAdmissionPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: last},
			Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
				MatchConstraints: lastMatch(last),
				Validations: []admissionregistrationv1.Validation{{
					Expression:        "false",
					MessageExpression: fmt.Sprintf("%q + (has(object.metadata.labels) ? ' with stamp' : ' without stamp')", last),
				}},
			},
		},
		&admissionregistrationv1.ValidatingAdmissionPolicyBinding{
			ObjectMeta: metav1.ObjectMeta{Name: last},
			Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
				PolicyName:        last,
				ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
			},
		},
	}
}

// lastMutating puts the stamp on it.
func lastMutating(last string) []client.Object {
	return []client.Object{
		&admissionregistrationv1.MutatingAdmissionPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: last},
			Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{
				MatchConstraints:   lastMatch(last),
				ReinvocationPolicy: admissionregistrationv1.NeverReinvocationPolicy,
				Mutations: []admissionregistrationv1.Mutation{{
					PatchType: admissionregistrationv1.PatchTypeApplyConfiguration,
					ApplyConfiguration: &admissionregistrationv1.ApplyConfiguration{
						Expression: fmt.Sprintf("Object{metadata: Object.metadata{labels: {%q: ''}}}", last),
					},
				}},
			},
		},
		&admissionregistrationv1.MutatingAdmissionPolicyBinding{
			ObjectMeta: metav1.ObjectMeta{Name: last},
			Spec:       admissionregistrationv1.MutatingAdmissionPolicyBindingSpec{PolicyName: last},
		},
	}
}
