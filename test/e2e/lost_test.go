// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
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

var _ = Describe("A grant that status cannot be told of", func() {
	var (
		ns     string
		leader *operator.Manager
	)
	// Nobody writes status in the namespace until it is called off.
	var tell func(context.Context) error
	BeforeEach(func(ctx SpecContext) {
		ns = newNamespace(ctx)
		newPolicy(ctx, builders.Policy("p-"+ns).Allowing("reader").In(ns))
		leader = startManager(ctx, "--leader-elect")
		probe := builders.Request("probe").In(ns).ForClusterRole("reader").NotBefore(time.Now().Add(time.Hour)).Build()
		Expect(alice.Create(ctx, probe)).To(Succeed())
		eventually(ctx, probe, v1alpha1.ReasonScheduled) // it leads
		startManager(ctx, "--leader-elect")

		status := operator.Foreign{
			Namespace: ns, Group: v1alpha1.GroupVersion.Group, Resource: "accessrequests/status",
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Update},
		}
		remove, err := status.Refuse(ctx, admin, "nobody writes status here")
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func(ctx SpecContext) { Expect(remove(ctx)).To(Succeed()) })
		tell = remove
		asOperator := operator.NewClient(GinkgoTB(), operator.OwnConfig(ctx, GinkgoTB(), plane))
		Eventually(func() error {
			return asOperator.Status().
				Patch(ctx, probe, client.RawPatch("application/merge-patch+json", []byte(`{"status":{"observedGeneration":7}}`)), client.DryRunAll)
		}).WithContext(ctx).Should(MatchError(ContainSubstring("nobody writes status here")))
	})
	granted := func(ctx context.Context, lasting time.Duration) (*v1alpha1.AccessRequest, rbacv1.RoleBinding) {
		GinkgoHelper()
		req := builders.Request("lost").In(ns).ForClusterRole("reader").Lasting(lasting).Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		Eventually(func() []rbacv1.RoleBinding { return bindings(ctx, ns) }).WithContext(ctx).Should(HaveLen(1))
		Eventually(func() bool { return aliceReads(ctx, ns) }).WithContext(ctx).Should(BeTrue())
		return req, bindings(ctx, ns)[0]
	}

	It("is not given again when its binding is deleted, by the leader or the next one", func(ctx SpecContext) {
		req, b := granted(ctx, time.Hour)
		Expect(admin.Delete(ctx, &b)).To(Succeed())
		Consistently(func() int { return len(bindings(ctx, ns)) }, "3s").WithContext(ctx).Should(BeZero(), "it was granted a second time")

		Expect(leader.Kill()).To(Succeed())
		Expect(tell(ctx)).To(Succeed())
		Eventually(func(g Gomega) {
			g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(Succeed())
			g.Expect(req).To(haveReason(v1alpha1.ReasonRevoked))
		}, 40*time.Second).WithContext(ctx).Should(Succeed(), "the next leader takes up to 17 s")
		Expect(bindings(ctx, ns)).To(BeEmpty())
		Expect(req.Status.Grant.Binding).To(Equal(b.Name))
		Expect(req.Status.Grant.EndedAt).NotTo(BeNil())
	}, SpecTimeout(2*time.Minute))

	It("ends by deletion where its subjects cannot be taken off, and is not given again", func(ctx SpecContext) {
		updates := operator.Foreign{
			Namespace: ns, Group: rbacv1.GroupName, Resource: "rolebindings",
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Update},
		}
		allow, err := updates.PutSubjectsBack(ctx, admin)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func(ctx SpecContext) { Expect(allow(ctx)).To(Succeed()) })
		req, b := granted(ctx, 10*time.Second)
		Eventually(func() []rbacv1.Subject {
			changed := b.DeepCopy()
			changed.Subjects = nil
			Expect(client.IgnoreNotFound(admin.Update(ctx, changed, client.DryRunAll))).To(Succeed())
			return changed.Subjects
		}).WithContext(ctx).Should(HaveLen(1))
		Consistently(func() bool { return aliceReads(ctx, ns) }, "1s").WithContext(ctx).Should(BeTrue())
		end, err := time.Parse(time.RFC3339, b.Annotations[v1alpha1.ExpiresAtAnnotation])
		Expect(err).NotTo(HaveOccurred())
		Eventually(func() bool { return aliceReads(ctx, ns) }, time.Until(end)+3*time.Second).WithContext(ctx).Should(BeFalse())
		Consistently(func() int { return len(bindings(ctx, ns)) }, "3s").WithContext(ctx).Should(BeZero(), "it was granted a second time")
		Expect(tell(ctx)).To(Succeed())
		eventually(ctx, req, v1alpha1.ReasonExpired)
	}, SpecTimeout(2*time.Minute))
})
