// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

// Many webhooks look something up, and pass on that it is not there. The API server answers with
// that, as if the RoleBinding were not there.
var _ = Describe("Beside a webhook that answers deletions with not found", func() {
	It("access that is revoked, and access that runs out, ends and is said to have ended then", func(ctx SpecContext) {
		startManager(ctx)
		ns := newNamespace(ctx)
		newPolicy(ctx, builders.Policy("p-"+ns).Allowing("reader").RevokedBy(builders.Group("leads")).In(ns))
		create(ctx, builders.Binding(ns, "approvers", "lapse-approver", builders.Group("leads")))
		bob := operator.NewUser(GinkgoTB(), plane, "bob", "leads")
		end := time.Now().Add(15 * time.Second).Truncate(time.Second)
		revoked := builders.Request("revoked").In(ns).ForClusterRole("reader").Lasting(time.Hour).Build()
		expires := builders.Request("expires").In(ns).ForClusterRole("reader").Lasting(time.Hour).NotAfter(end).Build()
		for _, req := range []*v1alpha1.AccessRequest{revoked, expires} {
			Expect(alice.Create(ctx, req)).To(Succeed())
		}
		Eventually(func() []string { return holding(ctx, ns) }).WithContext(ctx).Should(HaveLen(2))
		deletions := operator.Foreign{
			Namespace: ns, Group: rbacv1.GroupName, Resource: "rolebindings",
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Delete},
		}
		remove, err := deletions.Miss(ctx, admin)
		DeferCleanup(func(ctx SpecContext) { Expect(remove(ctx)).To(Succeed()) })
		Expect(err).NotTo(HaveOccurred())
		Eventually(func() error { return admin.Delete(ctx, &bindings(ctx, ns)[0], client.DryRunAll) }, "10s", "100ms").WithContext(ctx).
			Should(MatchError(ContainSubstring(`configmaps "rules" not found`)))

		no := builders.Decision("no", revoked, v1alpha1.VerdictRevoke)
		Eventually(func() error { return bob.Create(ctx, no) }).WithContext(ctx).Should(Succeed())
		over := func(req *v1alpha1.AccessRequest, state v1alpha1.RequestState) {
			GinkgoHelper()
			Eventually(func(g Gomega) {
				g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(Succeed())
				g.Expect(req.Status.State).To(Equal(state))
			}, "30s").WithContext(ctx).Should(Succeed())
			Expect(holding(ctx, ns)).NotTo(ContainElement(req.Status.Grant.Binding), "it is said to have ended")
		}
		over(revoked, v1alpha1.StateRevoked)
		over(expires, v1alpha1.StateExpired)
		Expect(remove(ctx)).To(Succeed())
		Eventually(func() []rbacv1.RoleBinding { return bindings(ctx, ns) }, "30s").WithContext(ctx).Should(BeEmpty())
	}, SpecTimeout(90*time.Second))
})

// The webhook is real: what it holds up keeps its seat in the API server's flow control.
var _ = Describe("Beside a namespace whose webhook answers nothing", func() {
	It("access ends within 3 s, and there when the webhook is gone", func(ctx SpecContext) {
		startManager(ctx, "--leader-elect")
		startManager(ctx, "--leader-elect")
		const swallowed, beside = 80, 8
		there, ns := newNamespace(ctx), newNamespace(ctx)
		for _, each := range []string{there, ns} {
			newPolicy(ctx, builders.Policy("p-"+each).Allowing("reader").In(each))
		}
		end := time.Now().Add(40 * time.Second).Truncate(time.Second)
		request := func(i int) builders.RequestBuilder {
			return builders.Request(fmt.Sprintf("e-%03d", i)).ForClusterRole("reader").Lasting(time.Hour)
		}
		askMany(ctx, alice, swallowed, func(i int) builders.RequestBuilder { return request(i).In(there).NotAfter(end) })
		askMany(ctx, alice, beside, func(i int) builders.RequestBuilder {
			return request(i).In(ns).NotAfter(end.Add(time.Duration(i) * time.Second))
		})
		Eventually(func() int { return len(holding(ctx, there)) + len(holding(ctx, ns)) }, time.Until(end), "200ms").WithContext(ctx).
			Should(Equal(swallowed + beside))

		writes := operator.Foreign{
			Namespace: there, Group: rbacv1.GroupName, Resource: "rolebindings",
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Update, admissionregistrationv1.Delete},
		}
		const timeout = 6 * time.Second
		remove, err := writes.Swallow(ctx, admin, timeout)
		DeferCleanup(func(ctx SpecContext) { Expect(remove(ctx)).To(Succeed()) })
		Expect(err).NotTo(HaveOccurred())
		Eventually(func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
			defer cancel()
			return admin.Delete(ctx, &bindings(ctx, there)[0], client.DryRunAll)
		}, "20s", "100ms").WithContext(ctx).Should(MatchError(context.DeadlineExceeded))
		Expect(time.Now()).To(BeTemporally("<", end), "the set-up took too long")

		var worst time.Duration
		Eventually(func(g Gomega) {
			left := 0
			for _, b := range bindings(ctx, ns) {
				if len(b.Subjects) == 0 {
					continue
				}
				left++
				due, err := time.Parse(time.RFC3339, b.Annotations[v1alpha1.ExpiresAtAnnotation])
				g.Expect(err).NotTo(HaveOccurred())
				worst = max(worst, time.Since(due))
			}
			g.Expect(left).To(BeZero())
		}, 2*time.Minute, "20ms").WithContext(ctx).Should(Succeed())
		first := swallowed - len(holding(ctx, there))
		AddReportEntry("late", fmt.Sprintf("beside: %s at the worst; there %d of %d had ended %s after their end", worst.Round(time.Millisecond),
			first, swallowed, time.Since(end).Round(time.Second)))
		Expect(worst).To(BeNumerically("<", 3*time.Second))
		Expect(remove(ctx)).To(Succeed())
		Eventually(func() []string { return holding(ctx, there) }, 10*time.Second).WithContext(ctx).Should(BeEmpty())
	}, SpecTimeout(2*time.Minute))
})
