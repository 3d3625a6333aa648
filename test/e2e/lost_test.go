// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

var _ = Describe("A grant that status cannot be told of", func() {
	It("is not given again when its binding is deleted, by the leader or the next one", func(ctx SpecContext) {
		leader := startManager(ctx, "--leader-elect")
		startManager(ctx, "--leader-elect")
		ns := newNamespace(ctx)
		newPolicy(ctx, builders.Policy("p-"+ns).Allowing("reader").In(ns))
		status := operator.Foreign{Namespace: ns, Group: v1alpha1.GroupVersion.Group, Resource: "accessrequests/status", Operation: admissionregistrationv1.Update}
		remove, err := status.Refuse(ctx, admin, "nobody writes status here")
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func(ctx SpecContext) { Expect(remove(ctx)).To(Succeed()) })
		probe := builders.Request("probe").In(ns).ForClusterRole("reader").NotBefore(time.Now().Add(time.Hour)).Build()
		Expect(alice.Create(ctx, probe)).To(Succeed())
		asOperator, err := plane.ServiceAccountConfig(ctx, operator.Namespace, operator.ServiceAccount)
		Expect(err).NotTo(HaveOccurred())
		Eventually(func() error {
			return clientOf(asOperator).Status().Patch(ctx, probe, client.RawPatch("application/merge-patch+json", []byte(`{"status":{"observedGeneration":7}}`)), client.DryRunAll)
		}).WithContext(ctx).Should(MatchError(ContainSubstring("nobody writes status here")))

		req := builders.Request("lost").In(ns).ForClusterRole("reader").Lasting(time.Hour).Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		Eventually(func() int { return len(bindings(ctx, ns)) }).WithContext(ctx).Should(Equal(1))
		Eventually(func() bool { return aliceReads(ctx, ns) }).WithContext(ctx).Should(BeTrue())
		b := bindings(ctx, ns)[0]
		Expect(admin.Delete(ctx, &b)).To(Succeed())
		Consistently(func() int { return len(bindings(ctx, ns)) }, "3s").WithContext(ctx).Should(BeZero(), "it was granted a second time")

		Expect(leader.Kill()).To(Succeed())
		Expect(remove(ctx)).To(Succeed())
		Eventually(func(g Gomega) {
			g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(Succeed())
			g.Expect(req).To(haveReason(v1alpha1.ReasonRevoked))
		}, 40*time.Second).WithContext(ctx).Should(Succeed(), "the next leader takes up to 17 s")
		Expect(bindings(ctx, ns)).To(BeEmpty())
		Expect(req.Status.Grant.Binding).To(Equal(b.Name))
		Expect(req.Status.Grant.EndedAt).NotTo(BeNil())
	}, SpecTimeout(2*time.Minute))
})
