// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/grant"
	"github.com/lapse-dev/lapse/internal/reap"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

var _ = Describe("A role that the operator may not bind", func() {
	It("is bound soon after an admin allows it with a labelled ClusterRole", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		create(ctx, builders.ClusterRole("late", builders.Rule("", "configmaps", "get")))
		newPolicy(ctx, builders.Policy("p-"+ns).Allowing("late").In(ns))
		startManager(ctx)
		req := builders.Request("late").In(ns).ForClusterRole("late").Lasting(time.Hour).Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		eventually(ctx, req, v1alpha1.ReasonBindForbidden)
		Expect(bindings(ctx, ns)).To(BeEmpty())

		create(ctx, builders.Bindable("clusterroles", "late"))
		start := time.Now()
		eventually(ctx, req, v1alpha1.ReasonGranted)
		Expect(time.Since(start)).To(BeNumerically("<", 5*time.Second))
	}, SpecTimeout(time.Minute))
})

var _ = Describe("While the operator may make no RoleBindings", func() {
	named := metav1.ObjectMeta{Name: reap.GrantingBinding}
	DescribeTable("what is held ends on time, and what waits says why, and is granted when it may again",
		func(ctx SpecContext, right client.Object) {
			ns := newNamespace(ctx)
			newPolicy(ctx, builders.Policy("p-"+ns).Allowing("reader").In(ns))
			startManager(ctx)
			held := builders.Request("held").In(ns).ForClusterRole("reader").Lasting(20 * time.Second).Build()
			Expect(alice.Create(ctx, held)).To(Succeed())
			eventually(ctx, held, v1alpha1.ReasonGranted)
			start := time.Now().Add(10 * time.Second).Truncate(time.Second)
			waits := builders.Request("waits").In(ns).ForClusterRole("reader").Lasting(time.Hour).NotBefore(start).Build()
			Expect(alice.Create(ctx, waits)).To(Succeed())
			eventually(ctx, waits, v1alpha1.ReasonScheduled)

			restore := without(ctx, right)
			const refused = `cannot create resource "rolebindings"`
			asOperator := operator.NewClient(GinkgoTB(), operator.OwnConfig(ctx, GinkgoTB(), plane))
			Eventually(func() error {
				return asOperator.Create(ctx, builders.Binding(ns, "probe", "reader", builders.User("alice")), client.DryRunAll)
			}).WithContext(ctx).Should(MatchError(ContainSubstring(refused)))
			Expect(time.Now()).To(BeTemporally("<", start), "the right has to be gone before it is needed")

			eventually(ctx, waits, v1alpha1.ReasonBindFailed)
			Expect(meta.FindStatusCondition(waits.Status.Conditions, v1alpha1.ConditionReady).Message).To(ContainSubstring(refused))
			eventually(ctx, held, v1alpha1.ReasonExpired)
			Expect(held.Status.Grant.EndedAt.Time).To(BeTemporally("~", held.Status.Grant.ExpiresAt.Time, 2*time.Second))
			Expect(bindings(ctx, ns)).To(BeEmpty())

			restore(ctx)
			Eventually(func(g Gomega) {
				g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(waits), waits)).To(Succeed())
				g.Expect(waits).To(haveReason(v1alpha1.ReasonGranted))
			}, grant.RetryAfter+10*time.Second).WithContext(ctx).Should(Succeed())
		},
		Entry("its ClusterRoleBinding was deleted", SpecTimeout(3*time.Minute), &rbacv1.ClusterRoleBinding{ObjectMeta: named}),
		Entry("its ClusterRole was deleted", SpecTimeout(3*time.Minute), &rbacv1.ClusterRole{ObjectMeta: named}),
	)
})

// without deletes an object of the cluster, and returns what makes it again.
func without(ctx context.Context, obj client.Object) (restore func(context.Context)) {
	GinkgoHelper()
	Expect(admin.Get(ctx, client.ObjectKeyFromObject(obj), obj)).To(Succeed())
	Expect(admin.Delete(ctx, obj)).To(Succeed())
	restore = func(ctx context.Context) {
		GinkgoHelper()
		again := obj.DeepCopyObject().(client.Object)
		again.SetResourceVersion("")
		again.SetManagedFields(nil)
		Expect(client.IgnoreAlreadyExists(admin.Create(ctx, again))).To(Succeed())
	}
	DeferCleanup(func(ctx SpecContext) { restore(ctx) })
	return restore
}
