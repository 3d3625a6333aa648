// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/operator"
)

// As tools do that keep objects as they are in Git.
var _ = Describe("Access whose end somebody undoes", func() {
	var (
		h   *harness
		ns  string
		req *v1alpha1.AccessRequest
	)
	BeforeEach(func(ctx SpecContext) {
		h, ns = newHarness(), newNamespace(ctx)
		newPolicy(ctx, policyFor(ns))
		req = h.granted(ctx, user("alice"), requestIn(ns))
	})
	// undo keeps the subjects of the RoleBindings in the namespace as they are.
	undo := func(ctx context.Context) (stop func()) {
		GinkgoHelper()
		updates := operator.Foreign{
			Namespace: ns, Group: rbacv1.GroupName, Resource: "rolebindings",
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Update},
		}
		remove, err := updates.PutSubjectsBack(ctx, admin)
		Expect(err).NotTo(HaveOccurred())
		stop = func() { Expect(remove(ctx)).To(Succeed()) }
		DeferCleanup(func(ctx SpecContext) { Expect(remove(ctx)).To(Succeed()) })
		return stop
	}
	// after is what becomes of the binding when it is changed.
	after := func(ctx context.Context, change func(*rbacv1.RoleBinding)) *rbacv1.RoleBinding {
		b := bindingOf(ctx, req)
		change(b)
		Expect(admin.Update(ctx, b, client.DryRunAll)).To(Succeed())
		return b
	}

	It("by putting the subjects back is not said to have ended while it goes on", func(ctx SpecContext) {
		deletions := operator.Foreign{
			Namespace: ns, Group: rbacv1.GroupName, Resource: "rolebindings",
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Delete},
		}
		remove, err := deletions.Refuse(ctx, admin, "nothing is deleted here")
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func(ctx SpecContext) { Expect(remove(ctx)).To(Succeed()) })
		stop := undo(ctx)
		Eventually(func() []rbacv1.Subject {
			return after(ctx, func(b *rbacv1.RoleBinding) { b.Subjects = nil }).Subjects
		}).WithContext(ctx).Should(HaveLen(1))
		Eventually(func() error { return admin.Delete(ctx, bindingOf(ctx, req), client.DryRunAll) }).WithContext(ctx).ShouldNot(Succeed())

		h.clock.SetTime(req.Status.Grant.ExpiresAt.Time)
		Expect(h.step(ctx, req)).
			To(MatchError(And(ContainSubstring("its subjects were put back by a mutating webhook"), ContainSubstring("nothing is deleted here"))))
		h.clock.SetTime(req.Status.Grant.ExpiresAt.Add(10 * time.Second)) // what grants ends it, too
		_, err = h.requests.Reconcile(ctx, requestFor(req))
		Expect(err).To(HaveOccurred())
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(Succeed())
		Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))
		Expect(bindingOf(ctx, req).Subjects).To(HaveLen(1))

		stop()
		Expect(remove(ctx)).To(Succeed())
		Eventually(func() []rbacv1.Subject {
			return after(ctx, func(b *rbacv1.RoleBinding) { b.Subjects = nil }).Subjects
		}).WithContext(ctx).Should(BeEmpty())
		Eventually(func() error { return admin.Delete(ctx, bindingOf(ctx, req), client.DryRunAll) }).WithContext(ctx).Should(Succeed())
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonExpired))
		Expect(bindingOf(ctx, req)).To(BeNil())
	})
})
