// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

var _ = Describe("A decision", func() {
	var (
		ns  string
		bob client.Client
	)
	BeforeEach(func(ctx SpecContext) {
		ns = newNamespace(ctx)
		bob = operator.NewUser(GinkgoTB(), plane, "bob", "leads")
		create(ctx, builders.Binding(ns, "approvers", "lapse-approver", builders.Group("leads")))
	})
	decide := func(ctx SpecContext, d *v1alpha1.AccessDecision) {
		GinkgoHelper()
		Eventually(func() error { return bob.Create(ctx, d) }).WithContext(ctx).Should(Succeed())
	}
	gone := func(ctx SpecContext, d *v1alpha1.AccessDecision) {
		GinkgoHelper()
		// The garbage collector learns of new kinds every 30 s.
		Eventually(func() error { return admin.Get(ctx, client.ObjectKeyFromObject(d), d) }, time.Minute).WithContext(ctx).ShouldNot(Succeed())
	}

	It("on a request that does not exist is collected", func(ctx SpecContext) {
		missing := builders.Request("missing").In(ns).Build()
		missing.UID = "11111111-2222-3333-4444-555555555555"
		d := builders.Decision("orphan", missing, v1alpha1.VerdictApprove)
		decide(ctx, d)
		gone(ctx, d)
	}, SpecTimeout(90*time.Second))

	It("gives access at once and takes it away at once, and goes with its request", func(ctx SpecContext) {
		newPolicy(ctx, builders.Policy("p-"+ns).Allowing("reader").In(ns).ApprovedBy(builders.Group("leads")))
		startManager(ctx)
		req := builders.Request("asked").In(ns).ForClusterRole("reader").Lasting(time.Hour).Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		eventually(ctx, req, v1alpha1.ReasonPendingApproval)

		yes := builders.Decision("yes", req, v1alpha1.VerdictApprove)
		decide(ctx, yes)
		Eventually(func() int { return len(bindings(ctx, ns)) }, time.Second).WithContext(ctx).Should(Equal(1))
		eventually(ctx, req, v1alpha1.ReasonGranted)

		decide(ctx, builders.Decision("no", req, v1alpha1.VerdictRevoke))
		Eventually(func() int { return len(bindings(ctx, ns)) }, time.Second).WithContext(ctx).Should(BeZero())
		eventually(ctx, req, v1alpha1.ReasonRevoked)

		Expect(admin.Delete(ctx, req)).To(Succeed())
		gone(ctx, yes)
	}, SpecTimeout(2*time.Minute))
})
