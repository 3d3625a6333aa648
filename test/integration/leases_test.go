// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/test/operator"
)

var _ = Describe("A Lease of the operator", func() {
	It("is made and changed by nobody else, and may be deleted", func(ctx SpecContext) {
		config, err := plane.ServiceAccountConfig(ctx, operator.Namespace, operator.ServiceAccount)
		Expect(err).NotTo(HaveOccurred())
		itself := operator.NewClient(GinkgoTB(), config)
		for _, name := range []string{"lapse.lapse.dev", "lapse-admission", "lapse-records"} {
			lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: operator.Namespace, Name: name}}
			Expect(client.IgnoreNotFound(admin.Delete(ctx, lease.DeepCopy()))).To(Succeed())
			refused := MatchError(And(ContainSubstring("'lapse-leases'"), ContainSubstring("only the operator writes its Leases")))
			Expect(admin.Create(ctx, lease.DeepCopy())).To(refused, name)
			Expect(itself.Create(ctx, lease)).To(Succeed())
			changed := lease.DeepCopy()
			changed.Annotations = map[string]string{"admission.lapse.dev/known": "{}"}
			Expect(admin.Update(ctx, changed.DeepCopy())).To(refused, name)
			Expect(itself.Update(ctx, changed)).To(Succeed())
			Expect(admin.Delete(ctx, lease)).To(Succeed())
		}
	})

	It("says nothing if it is not understood, and is written anew by the next operator", func(ctx SpecContext) {
		config, err := plane.ServiceAccountConfig(ctx, operator.Namespace, operator.ServiceAccount)
		Expect(err).NotTo(HaveOccurred())
		lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: operator.Namespace, Name: "lapse-admission"}}
		Expect(client.IgnoreNotFound(admin.Delete(ctx, lease.DeepCopy()))).To(Succeed())
		const known = "admission.lapse.dev/known"
		lease.Annotations = map[string]string{known: "{"}
		Expect(operator.NewClient(GinkgoTB(), config).Create(ctx, lease)).To(Succeed())
		guard := startManager(ctx, config, clock.RealClock{}, 0)
		Eventually(func() error { return guard.Ready(nil) }).WithContext(ctx).Should(Succeed())
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(lease), lease)).To(Succeed())
		Expect(lease.Annotations[known]).To(ContainSubstring("ValidatingAdmissionPolicy lapse-requester"))
	})

	It("is any in another namespace", func(ctx SpecContext) {
		lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: newNamespace(ctx), Name: "lapse-records"}}
		Expect(admin.Create(ctx, lease)).To(Succeed())
	})
})
