// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

var _ = Describe("Beside forty policies that cost as much as they may, and two hundred requests that wait by them", func() {
	It("a revocation is honoured within 2 s, and who asks elsewhere answered within 1 s", func(ctx SpecContext) {
		const policies, conditions, waiting = 40, 16, 200
		groups, crowd := make([]string, 28), make([]client.Client, 4)
		for i := range groups {
			groups[i] = fmt.Sprintf("team-%03d", i)
		}
		groups[0] = "askers"
		for i := range crowd {
			crowd[i] = operator.NewUser(GinkgoTB(), plane, fmt.Sprint("zoe-", i), groups...)
		}
		bob := operator.NewUser(GinkgoTB(), plane, "bob", "leads")
		there, ns := newNamespace(ctx), newNamespace(ctx)
		create(ctx, builders.Binding(ns, "approvers", "lapse-approver", builders.Group("leads")))
		newPolicy(ctx, builders.Policy("p-"+ns).Allowing("reader").In(ns).ApprovedBy(builders.Group("leads")))
		newPolicy(ctx, builders.Policy("q-"+ns).Allowing("edit").In(ns))
		newPolicy(ctx, builders.Policy("z-"+there).From(builders.Group("askers")).Allowing("reader").In(there).
			ApprovedBy(builders.Group("nobody")))
		startManager(ctx)
		held := make([]*v1alpha1.AccessRequest, 3)
		for i := range held {
			held[i] = builders.Request(fmt.Sprint("held-", i)).In(ns).ForClusterRole("reader").Lasting(time.Hour).Build()
			Expect(alice.Create(ctx, held[i])).To(Succeed())
			Eventually(func() error {
				return bob.Create(ctx, builders.Decision(fmt.Sprint("yes-", i), held[i], v1alpha1.VerdictApprove))
			}).WithContext(ctx).Should(Succeed())
			eventually(ctx, held[i], v1alpha1.ReasonGranted)
		}

		const dear = "request.spec.requester.groups.all(g, request.spec.requester.groups.all(h, g != '' && h != ''))"
		for i := range policies {
			p := builders.Policy(fmt.Sprintf("a%02d-%s", i, there)).From(builders.Group("askers")).Allowing("reader").In(there)
			for n := range conditions {
				p = p.If(fmt.Sprintf("%s && %d == %d", dear, i*conditions+n, i*conditions+n), "")
			}
			newPolicy(ctx, p)
		}
		Eventually(func(ctx context.Context) int { return readyPolicies(ctx, "-"+there) }).WithContext(ctx).
			Should(Equal(policies+1), "none costs more than it may")
		for i, zoe := range crowd {
			askMany(ctx, zoe, waiting/len(crowd), func(n int) builders.RequestBuilder {
				return builders.Request(fmt.Sprintf("w-%d-%03d", i, n)).In(there).ForClusterRole("reader").Lasting(time.Hour)
			})
		}

		var revoked, answered time.Duration
		for i, req := range held {
			begun := time.Now()
			Expect(bob.Create(ctx, builders.Decision(fmt.Sprint("no-", i), req, v1alpha1.VerdictRevoke))).To(Succeed())
			Eventually(func() []string { return holding(ctx, ns) }, time.Minute).WithContext(ctx).
				ShouldNot(ContainElement(HavePrefix("lapse-" + req.Name)))
			revoked = max(revoked, time.Since(begun))
			begun = time.Now()
			asked := builders.Request(fmt.Sprint("asked-", i)).In(ns).ForClusterRole("edit").Lasting(time.Hour).Build()
			Expect(alice.Create(ctx, asked)).To(Succeed())
			Eventually(func(ctx context.Context) v1alpha1.RequestState {
				Expect(admin.Get(ctx, client.ObjectKeyFromObject(asked), asked)).To(Succeed())
				return asked.Status.State
			}, time.Minute).WithContext(ctx).Should(Equal(v1alpha1.StateActive))
			answered = max(answered, time.Since(begun))
			// All that wait are judged again.
			touched := policyNow(ctx, "z-"+there)
			before := client.MergeFrom(touched.DeepCopy()) // the operator may write its status meanwhile
			touched.Spec.MaxDuration.Duration -= time.Minute
			Expect(admin.Patch(ctx, touched, before)).To(Succeed())
		}
		AddReportEntry("worst", fmt.Sprintf("revoked after %s, answered after %s",
			revoked.Round(time.Millisecond), answered.Round(time.Millisecond)))
		Eventually(func(ctx context.Context) int { return inState(ctx, there, v1alpha1.StatePending) }, time.Minute).WithContext(ctx).
			Should(Equal(waiting))
		Expect(revoked).To(BeNumerically("<", 2*time.Second))
		Expect(answered).To(BeNumerically("<", time.Second))
	}, SpecTimeout(3*time.Minute))
})

// readyPolicies are how many whose name ends so are in force.
func readyPolicies(ctx context.Context, suffix string) (n int) {
	GinkgoHelper()
	list := &v1alpha1.AccessPolicyList{}
	Expect(admin.List(ctx, list)).To(Succeed())
	for i := range list.Items {
		if p := &list.Items[i]; strings.HasSuffix(p.Name, suffix) && meta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionReady) {
			n++
		}
	}
	return n
}

func inState(ctx context.Context, namespace string, state v1alpha1.RequestState) int {
	GinkgoHelper()
	list := &v1alpha1.AccessRequestList{}
	Expect(admin.List(ctx, list, client.InNamespace(namespace), client.MatchingFields{"status.state": string(state)})).To(Succeed())
	return len(list.Items)
}
