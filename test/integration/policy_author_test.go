// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

var _ = Describe("The author of a policy", Ordered, func() {
	var author client.Client
	roles := func(n int) []string {
		out := make([]string, n)
		for i := range out {
			out[i] = fmt.Sprintf("offer-%02d", i)
		}
		return out
	}
	BeforeAll(func(ctx SpecContext) {
		subject := rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "author"}
		bindCluster(ctx, "author", "lapse-policy-admin", subject)
		allowBind(ctx, "author", subject, append(roles(16), "reader")...)
		author = user("author")
	})

	It("may offer sixteen roles that he may bind", func(ctx SpecContext) {
		p := builders.Policy("sixteen").Allowing(roles(16)...).Build()
		Expect(author.Create(ctx, p, client.DryRunAll)).To(Succeed())
	})

	DescribeTable("may not offer a role that he may not bind, and is told which",
		func(ctx SpecContext, at, of int) {
			names := roles(of)
			names[at] = "writer"
			p := builders.Policy("escalation").Allowing(names...).Build()
			Expect(author.Create(ctx, p)).To(MatchError(ContainSubstring(
				fmt.Sprintf(`to offer ClusterRole "writer" (spec.roles[%d]) you need the verb bind on it in the whole cluster`, at))))
		},
		Entry("the only one", 0, 1),
		Entry("one of several", 1, 3),
		Entry("the last of sixteen", 15, 16),
	)

	// Each place has an expression of its own, which may be wrong on its own: about which role
	// it asks, about the kind, and from how many roles on.
	It("may not hide a role that he may not bind, wherever it stands among sixteen", func(ctx SpecContext) {
		refused := func(p *v1alpha1.AccessPolicy, kind, name string, at int) {
			GinkgoHelper()
			Expect(author.Create(ctx, p, client.DryRunAll)).To(MatchError(ContainSubstring(
				fmt.Sprintf(`to offer %s %q (spec.roles[%d]) you need the verb bind on it in the whole cluster`, kind, name, at))))
		}
		for at, name := range roles(16) {
			By(fmt.Sprintf("trying spec.roles[%d]", at))
			offered := builders.Policy("hidden").Allowing(roles(at + 1)...).Build()
			Expect(author.Create(ctx, offered, client.DryRunAll)).To(Succeed())
			for _, of := range []int{at + 1, 16} {
				names := roles(of)
				names[at] = "writer"
				refused(builders.Policy("hidden").Allowing(names...).Build(), "ClusterRole", "writer", at)
			}
			// He may bind the ClusterRole of that name.
			local := builders.Policy("hidden").Allowing(roles(16)...).Build()
			local.Spec.Roles[at].Kind = v1alpha1.RoleKind
			refused(local, "Role", name, at)
		}
	})

	It("may not offer a Role that he may not bind", func(ctx SpecContext) {
		p := builders.Policy("escalation").Allowing("reader").AllowingRole("local").Build()
		Expect(author.Create(ctx, p)).To(MatchError(ContainSubstring(`to offer Role "local" (spec.roles[1])`)))
	})

	It("may not widen a policy in any way of writing, and may label it", func(ctx SpecContext) {
		p := builders.Policy("widened").Allowing("reader").Build()
		Expect(author.Create(ctx, p)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { Expect(admin.Delete(ctx, p)).To(Succeed()) })
		refused := MatchError(ContainSubstring(`to offer ClusterRole "cluster-admin" (spec.roles[0])`))

		wider := p.DeepCopy()
		wider.Spec.Roles[0].Name = "cluster-admin"
		Expect(author.Update(ctx, wider.DeepCopy())).To(refused)
		Expect(author.Patch(ctx, wider.DeepCopy(), client.MergeFrom(p))).To(refused)
		Expect(author.Patch(ctx, p.DeepCopy(),
			client.RawPatch(types.JSONPatchType, []byte(`[{"op":"replace","path":"/spec/roles/0/name","value":"cluster-admin"}]`)))).To(refused)
		applied := wider.DeepCopy()
		applied.ManagedFields, applied.ResourceVersion = nil, ""
		applied.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("AccessPolicy"))
		Expect(author.Patch(ctx, applied, client.Apply, client.FieldOwner("x"), client.ForceOwnership)). //nolint:staticcheck // as kubectl does
															To(refused)

		labelled := p.DeepCopy()
		labelled.Labels = map[string]string{"team": "payments"}
		Expect(author.Patch(ctx, labelled, client.MergeFrom(p))).To(Succeed())
	})

	It("is told that whoever logs in may ask", func(ctx SpecContext) {
		h := newHarness()
		p := newPolicy(ctx, builders.Policy("wide").From(builders.Group("system:authenticated")).Allowing("reader").In("default"))
		_, err := h.policies.Reconcile(ctx, requestFor(p))
		Expect(err).NotTo(HaveOccurred())
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(p), p)).To(Succeed())
		Expect(p).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonValid))
		Expect(p.Status.Risks).To(ContainElement(`requesters: whoever logs in may ask, ServiceAccounts included (Group "system:authenticated")`))
	})

	It("is told what can never match, and sees all roles in one line", func(ctx SpecContext) {
		h := newHarness()
		p := newPolicy(ctx, builders.Policy("star").From(builders.Group("*"), builders.Group("oncall")).
			Allowing("reader", "writer").AllowingRole("local").In("default").ApprovedBy(builders.User("bob")).ApprovedBy(builders.User("bob")))
		_, err := h.policies.Reconcile(ctx, requestFor(p))
		Expect(err).NotTo(HaveOccurred())
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(p), p)).To(Succeed())
		Expect(p).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonValid))
		Expect(p.Status.Conditions[0].Message).To(HavePrefix(`in force; but requesters[0] Group "*": a name is not a pattern; `))
		Expect(p.Status.Conditions[0].Message).To(ContainSubstring(
			`; approvals can never be met: 2 must approve by approvals[0] and approvals[1], out of User "bob"`))
		Expect(p.Status.Roles).To(Equal("reader, writer, role/local"))
	})

	It("is told who gets past what by another policy, on both", func(ctx SpecContext) {
		h := newHarness()
		offer := func(name string) builders.PolicyBuilder {
			return builders.Policy(name).Allowing("reader").In("default")
		}
		strict := newPolicy(ctx, offer("past-strict").From(builders.Group("past-oncall")).
			If("request.spec.reason.startsWith('INC-')", "no incident"))
		lax := newPolicy(ctx, offer("past-lax").From(builders.Group("past-devs")))
		past := fmt.Sprintf(`policy %q lets whoever is in both (as a requester) past this one for ClusterRole "reader": `+
			`without conditions[0] ("no incident")`, lax.Name)
		passing := fmt.Sprintf(`this policy lets whoever is in both (as a requester) past policy %q for ClusterRole "reader": `+
			`without conditions[0] ("no incident")`, strict.Name)
		for p, want := range map[*v1alpha1.AccessPolicy]string{strict: past, lax: passing} {
			_, err := h.policies.Reconcile(ctx, requestFor(p))
			Expect(err).NotTo(HaveOccurred())
			Expect(admin.Get(ctx, client.ObjectKeyFromObject(p), p)).To(Succeed())
			Expect(p).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonValid))
			Expect(p.Status.Risks).To(ContainElement(want))
		}
	})

	DescribeTable("is told when the policy allows nothing",
		func(ctx SpecContext, change func(builders.PolicyBuilder) builders.PolicyBuilder, reason, message string) {
			h := newHarness()
			p := newPolicy(ctx, change(builders.Policy("broken").Allowing("reader").In("default")))
			_, err := h.policies.Reconcile(ctx, requestFor(p))
			Expect(err).NotTo(HaveOccurred())
			Expect(admin.Get(ctx, client.ObjectKeyFromObject(p), p)).To(Succeed())
			Expect(p).To(beReady(metav1.ConditionFalse, reason))
			Expect(p).To(haveCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, reason))
			Expect(p.Status.Conditions[0].Message).To(ContainSubstring(message))
			Expect(p.Status.ObservedGeneration).To(Equal(p.Generation))
		},
		Entry("because CEL does not compile", func(b builders.PolicyBuilder) builders.PolicyBuilder {
			return b.If("request.spec.raeson == 'x'", "")
		}, v1alpha1.ReasonInvalidExpression, "raeson"),
		Entry("because a role does not exist", func(b builders.PolicyBuilder) builders.PolicyBuilder {
			return b.Allowing("reader", "nowhere")
		}, v1alpha1.ReasonRoleNotFound, "nowhere"),
		Entry("because a role is dangerous", func(b builders.PolicyBuilder) builders.PolicyBuilder {
			return b.Allowing("cluster-admin")
		}, v1alpha1.ReasonDangerousRole, "cluster-admin"),
	)
})
