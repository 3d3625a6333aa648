// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package flux

import (
	"context"
	"fmt"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

// policy lets an account ask for alice and carol in a namespace.
const policy = `apiVersion: lapse.dev/v1alpha1
kind: AccessPolicy
metadata: {name: p-%[1]s}
spec:
  requesters:
  - {kind: ServiceAccount, namespace: flux-system, name: %[2]s}
  grantees:
  - {kind: User, name: alice}
  - {kind: User, name: carol}
  roles:
  - {kind: ClusterRole, name: reader}
  namespaces: {names: [%[1]s]}
  maxDuration: 1h
`

const approvals = `  approvals:
  - from: [{kind: Group, name: leads}]
    count: 1
`

func asking(ctx context.Context, asker, who, ns, duration string, notAfter time.Time) string {
	GinkgoHelper()
	return flux.Request(ctx, GinkgoTB(), asker, who, ns, duration, notAfter)
}

var _ = Describe("What Flux applies", func() {
	It("shows no drift before, during and after a grant, and grants nothing when it comes back", func(ctx SpecContext) {
		startFlux(ctx)
		ns := flux.NewTenant(ctx, GinkgoTB(), account)
		notAfter := time.Now().Add(90 * time.Second).UTC().Truncate(time.Second)
		repo := newRepository(ctx, ns, "", map[string]string{
			"policies/policy.yaml": fmt.Sprintf(policy, ns, account) + approvals,
			"requests/alice.yaml":  asking(ctx, account, "alice", ns, "20s", notAfter),
		})
		req := builders.Request("alice").In(ns).Build()
		decided(ctx, req, v1alpha1.ReasonPendingApproval)
		repo.reconciled(ctx) // the first time through, Flux is not done yet
		repo.staysAs(ctx, status.InProgressStatus)

		bob, yes := operator.NewUser(GinkgoTB(), plane, "bob", "leads"), builders.Decision("yes", req, v1alpha1.VerdictApprove)
		Eventually(func() error { return bob.Create(ctx, yes) }).WithContext(ctx).Should(Succeed())
		decided(ctx, req, v1alpha1.ReasonGranted)
		Eventually(func() (bool, error) { return holds(ctx, "alice", ns) }).WithContext(ctx).Should(BeTrue())
		repo.staysAs(ctx, status.CurrentStatus)
		decided(ctx, req, v1alpha1.ReasonExpired)
		repo.staysAs(ctx, status.CurrentStatus)

		forgotten := notAfter.Add(2 * time.Second) // if Flux did not track it
		Eventually(time.Now).WithContext(ctx).WithTimeout(2 * time.Minute).Should(BeTemporally(">", forgotten))
		uid := req.UID
		mark, err := plane.AuditMark()
		Expect(err).NotTo(HaveOccurred())
		Expect(admin.Delete(ctx, req)).To(Succeed(), "whatever --retention says, it was there")
		repo.reconciled(ctx)
		_, wrote := calls(mark)
		Expect(texts(wrote)).To(Equal([]string{"patch accessrequests/alice"}), "drift would show here")
		Expect(decided(ctx, req, v1alpha1.ReasonDenied)).To(ContainSubstring(notAfter.Format(time.RFC3339)))
		Expect(req.UID).NotTo(Equal(uid))
		repo.staysAs(ctx, status.FailedStatus)
		bindings, managed := &rbacv1.RoleBindingList{}, client.MatchingLabels{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy}
		Expect(admin.List(ctx, bindings, client.InNamespace(ns), managed)).To(Succeed())
		Expect(bindings.Items).To(BeEmpty())
		Expect(holds(ctx, "alice", ns)).To(BeFalse())
	}, SpecTimeout(6*time.Minute))

	DescribeTable("is asked for by the account that applies it, and ends within 2 s of being pruned",
		func(ctx SpecContext, byDefault, named, asker string) {
			var args []string
			if byDefault != "" {
				args = []string{"--default-service-account=" + byDefault}
			}
			startFlux(ctx, args...)
			ns := flux.NewTenant(ctx, GinkgoTB(), asker)
			notAfter := time.Now().Add(time.Hour)
			files := map[string]string{
				"policies/policy.yaml": fmt.Sprintf(policy, ns, asker),
				"requests/alice.yaml":  asking(ctx, asker, "alice", ns, "30m", notAfter),
				"requests/carol.yaml":  asking(ctx, asker, "carol", ns, "30m", notAfter),
			}
			repo := newRepository(ctx, ns, named, files)
			for _, who := range []string{"alice", "carol"} {
				req := builders.Request(who).In(ns).Build()
				decided(ctx, req, v1alpha1.ReasonGranted)
				Expect(req.Spec.Requester.Username).To(Equal("system:serviceaccount:" + home + ":" + asker))
				Eventually(func() (bool, error) { return holds(ctx, who, ns) }).WithContext(ctx).Should(BeTrue())
			}
			repo.reconciled(ctx) // what Flux has not noted yet, it would not prune

			mark, err := plane.AuditMark()
			Expect(err).NotTo(HaveOccurred())
			delete(files, "requests/alice.yaml")
			repo.push(ctx, files)
			Eventually(func() (bool, error) { return holds(ctx, "alice", ns) }).WithContext(ctx).
				WithPolling(10 * time.Millisecond).Should(BeFalse())
			ended := time.Now()
			var wrote []call
			Eventually(func() []string { // a call is logged when it is answered
				_, wrote = calls(mark)
				return texts(wrote)
			}).WithContext(ctx).Should(Equal([]string{"delete accessrequests/alice"}))
			Expect(ended.Sub(wrote[0].when)).To(BeNumerically("<", 2*time.Second))
			Expect(holds(ctx, "carol", ns)).To(BeTrue())
		},
		Entry("Flux's own, where nothing else is said", "", "", account, SpecTimeout(3*time.Minute)),
		Entry("the one that the Kustomization names", "", deployer, deployer, SpecTimeout(3*time.Minute)),
		Entry("that of --default-service-account", applier, "", applier, SpecTimeout(3*time.Minute)),
		Entry("the one that the Kustomization names, before the default one", applier, deployer, deployer, SpecTimeout(3*time.Minute)),
	)
})
