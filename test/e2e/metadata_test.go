// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

var _ = Describe("A cluster that demands labels of RoleBindings", func() {
	It("gets them by a flag; without it, the request says what is demanded", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		newPolicy(ctx, builders.Policy("labels").Allowing("reader").In(ns))
		theirs := operator.Foreign{
			Namespace: ns, Group: rbacv1.GroupName, Resource: "rolebindings",
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
		}
		remove, err := theirs.Demand(ctx, admin, "has(object.metadata.labels) && 'team' in object.metadata.labels", "label team is missing")
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(remove)
		bare := &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "bare"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "reader"},
		}
		Eventually(func() error { return admin.Create(ctx, bare.DeepCopy(), client.DryRunAll) }).WithContext(ctx).
			Should(MatchError(ContainSubstring("label team is missing")))

		req := builders.Request("labelled").In(ns).ForClusterRole("reader").Lasting(10 * time.Second).Build()
		without := startManager(ctx)
		Expect(alice.Create(ctx, req)).To(Succeed())
		eventually(ctx, req, v1alpha1.ReasonBindFailed)
		Expect(req.Status.Conditions[0].Message).To(ContainSubstring("label team is missing"))
		Expect(without.Stop()).To(Succeed())

		startManager(ctx, "--binding-label=team=platform", "--binding-label=example.com/tier=1",
			"--binding-annotation=example.com/why=asked for, by a person")
		eventually(ctx, req, v1alpha1.ReasonGranted)
		made := bindings(ctx, ns)
		Expect(made).To(HaveLen(1))
		Expect(made[0].Labels).To(And(HaveKeyWithValue("team", "platform"), HaveKeyWithValue("example.com/tier", "1"),
			HaveKeyWithValue(v1alpha1.RequestUIDLabel, string(req.UID))))
		Expect(made[0].Annotations).To(HaveKeyWithValue("example.com/why", "asked for, by a person"))
		eventually(ctx, req, v1alpha1.ReasonExpired)
		Expect(bindings(ctx, ns)).To(BeEmpty())
	}, SpecTimeout(time.Minute))
})
