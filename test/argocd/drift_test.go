// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package argocd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/diff"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

// policy lets an account ask for three people in a namespace.
const policy = `apiVersion: lapse.dev/v1alpha1
kind: AccessPolicy
metadata: {name: p-%[1]s}
spec:
  requesters:
  - {kind: ServiceAccount, namespace: argocd, name: %[2]s}
  grantees:
  - {kind: User, name: alice}
  - {kind: User, name: carol}
  - {kind: User, name: dave}
  roles:
  - {kind: ClusterRole, name: reader}
  namespaces: {names: [%[1]s]}
  maxDuration: 1h
  approvals:
  - from: [{kind: Group, name: leads}]
    count: 1
`

// holds asks the API server whether somebody has what the role reader allows.
func holds(ctx context.Context, who, ns string) (bool, error) {
	return operator.Allowed(ctx, admin, who, "get", "configmaps", ns)
}

// decided waits until a request has a reason.
func decided(ctx context.Context, req *v1alpha1.AccessRequest, reason string) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(Succeed())
		g.Expect(operator.Reason(req)).To(Equal(reason), req.Name)
	}).WithContext(ctx).Should(Succeed())
}

var _ = Describe("What Argo CD applies", func() {
	DescribeTable("shows no drift before, during and after a grant, and ends within 2 s of being pruned",
		func(ctx SpecContext, asker string, serverSide bool) {
			e, ns := newEngine(ctx, asker, serverSide), argo.NewTenant(ctx, GinkgoTB(), asker)
			bob := operator.NewUser(GinkgoTB(), plane, "bob", "leads")
			decide := func(req *v1alpha1.AccessRequest, verdict v1alpha1.Verdict) {
				GinkgoHelper()
				decided(ctx, req, v1alpha1.ReasonPendingApproval)
				Expect(bob.Create(ctx, builders.Decision(req.Name, req, verdict))).To(Succeed())
			}
			asking := func(who, duration string) (git *unstructured.Unstructured, req *v1alpha1.AccessRequest) {
				git = manifest(argo.Request(ctx, GinkgoTB(), asker, who, ns, duration, time.Now().Add(time.Hour)))
				e.apply(ctx, e.syncer, git)
				return git, builders.Request(who).In(ns).Build()
			}
			rules := manifest(fmt.Sprintf(policy, ns, asker))
			e.apply(ctx, e.own, rules)
			Eventually(func(g Gomega) {
				p := &v1alpha1.AccessPolicy{}
				g.Expect(admin.Get(ctx, client.ObjectKey{Name: rules.GetName()}, p)).To(Succeed())
				g.Expect(meta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionReady)).To(BeTrue())
			}).WithContext(ctx).Should(Succeed())
			e.inSync(ctx, rules)

			alices, alice := asking("alice", "20s")
			carols, carol := asking("carol", "30m")
			daves, dave := asking("dave", "30m")
			decided(ctx, alice, v1alpha1.ReasonPendingApproval)
			Expect(alice.Spec.Requester.Username).To(Equal(username(asker)))
			Expect(metav1.HasAnnotation(alice.ObjectMeta, diff.AnnotationLastAppliedConfig)).To(Equal(!serverSide))
			e.inSync(ctx, rules, alices)

			decide(alice, v1alpha1.VerdictApprove)
			decided(ctx, alice, v1alpha1.ReasonGranted)
			Eventually(func() (bool, error) { return holds(ctx, "alice", ns) }).WithContext(ctx).Should(BeTrue())
			e.inSync(ctx, rules, alices)
			Expect(holds(ctx, "alice", ns)).To(BeTrue(), "it ended too early to be compared")

			decide(carol, v1alpha1.VerdictDeny)
			decided(ctx, carol, v1alpha1.ReasonDenied)
			e.inSync(ctx, carols)
			decided(ctx, alice, v1alpha1.ReasonExpired)
			e.inSync(ctx, rules, alices)
			uid, version := alice.UID, alice.ResourceVersion
			e.apply(ctx, e.syncer, alices) // somebody clicks Sync
			decided(ctx, alice, v1alpha1.ReasonExpired)
			Expect([]any{alice.UID, alice.ResourceVersion}).To(Equal([]any{uid, version}))
			e.serverSide = !e.serverSide // somebody changes the sync option
			e.apply(ctx, e.syncer, alices)
			decided(ctx, alice, v1alpha1.ReasonExpired)
			Expect(alice.UID).To(Equal(uid))
			e.inSync(ctx, alices)

			decide(dave, v1alpha1.VerdictApprove)
			decided(ctx, dave, v1alpha1.ReasonGranted)
			Eventually(func() (bool, error) { return holds(ctx, "dave", ns) }).WithContext(ctx).Should(BeTrue())
			binding := &rbacv1.RoleBinding{}
			Expect(admin.Get(ctx, client.ObjectKey{Namespace: ns, Name: dave.Status.Grant.Binding}, binding)).To(Succeed())
			Expect(binding.OwnerReferences).To(ConsistOf(HaveField("UID", dave.UID)), "by which Argo CD shows it below the request")
			Expect(binding.Annotations).NotTo(HaveKey(tracking))
			Expect(binding.Labels).NotTo(HaveKey("app.kubernetes.io/instance"), "by which older versions of Argo CD track")
			e.prune(ctx, daves)
			Eventually(func() (bool, error) { return holds(ctx, "dave", ns) }).WithContext(ctx).
				WithTimeout(2 * time.Second).WithPolling(10 * time.Millisecond).Should(BeFalse())
			Eventually(func() bool { return apierrors.IsNotFound(admin.Get(ctx, client.ObjectKeyFromObject(dave), dave)) }).
				WithContext(ctx).Should(BeTrue())
		},
		Entry("client-side, by Argo CD's own account", account, false, SpecTimeout(3*time.Minute)),
		Entry("server-side, by an account that it impersonates", deployer, true, SpecTimeout(3*time.Minute)),
	)

	It("is out of sync when Git says something else", func(ctx SpecContext) {
		e, ns := newEngine(ctx, account, false), argo.NewTenant(ctx, GinkgoTB(), account)
		rules := manifest(fmt.Sprintf(policy, ns, account))
		asks := manifest(argo.Request(ctx, GinkgoTB(), account, "alice", ns, "30m", time.Now().Add(time.Hour)))
		for _, git := range []*unstructured.Unstructured{rules, asks} {
			e.apply(ctx, e.own, git)
		}
		e.inSync(ctx, rules, asks)
		for field, git := range map[string]*unstructured.Unstructured{"maxDuration": rules, "duration": asks} {
			changed, live := git.DeepCopy(), e.live(ctx, git)
			Expect(unstructured.SetNestedField(changed.Object, "20m", "spec", field)).To(Succeed())
			for way, options := range e.ways {
				found, err := diff.Diff(changed.DeepCopy(), live.DeepCopy(), options...)
				if git == asks && strings.HasPrefix(way, byServer) {
					Expect(err).To(MatchError(ContainSubstring("spec is immutable")), "as docs/argocd.md says")
					continue
				}
				Expect(err).NotTo(HaveOccurred(), way)
				Expect(found.Modified).To(BeTrue(), "%s by %s", field, way)
			}
		}
	}, SpecTimeout(3*time.Minute))
})
