// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

var _ = Describe("A request that cannot be granted", func() {
	var (
		h     *harness
		ns    string
		alice client.Client
	)
	BeforeEach(func(ctx SpecContext) { h, ns, alice = newHarness(), newNamespace(ctx), user("alice") })

	// refused judges a request under a policy, and then once more: nothing may change.
	refused := func(ctx SpecContext, p builders.PolicyBuilder, req builders.RequestBuilder, reason string) *v1alpha1.AccessRequest {
		GinkgoHelper()
		newPolicy(ctx, p)
		r := req.Build()
		Expect(alice.Create(ctx, r)).To(Succeed())
		h.settle(ctx, r)
		Expect(r).To(beReady(metav1.ConditionFalse, reason))
		Expect(bindingOf(ctx, r)).To(BeNil())
		version := r.ResourceVersion
		h.clock.Step(time.Minute)
		h.settle(ctx, r)
		Expect(r.ResourceVersion).To(Equal(version), "said once")
		return r
	}

	DescribeTable("is told what would have been allowed",
		func(ctx SpecContext, change func(builders.PolicyBuilder, builders.RequestBuilder) (builders.PolicyBuilder, builders.RequestBuilder),
			reason string, messages ...string,
		) {
			p, req := change(policyFor(ns), builders.Request("bad").In(ns).ForClusterRole("reader"))
			r := refused(ctx, p, req, reason)
			for _, m := range messages {
				Expect(message(r)).To(ContainSubstring(m))
			}
		},
		Entry("longer than the policy allows",
			func(p builders.PolicyBuilder, r builders.RequestBuilder) (builders.PolicyBuilder, builders.RequestBuilder) {
				return p.AtMost(time.Hour), r.Lasting(2 * time.Hour)
			}, v1alpha1.ReasonDenied, "duration 2h", "maxDuration 1h"),
		Entry("a condition that is false",
			func(p builders.PolicyBuilder, r builders.RequestBuilder) (builders.PolicyBuilder, builders.RequestBuilder) {
				return p.If("request.spec.reason.startsWith('TICKET-')", "the reason must begin with a ticket"), r
			}, v1alpha1.ReasonDenied, "the reason must begin with a ticket"),
		Entry("a condition that does not compile",
			func(p builders.PolicyBuilder, r builders.RequestBuilder) (builders.PolicyBuilder, builders.RequestBuilder) {
				return p.If("request.spec.", "x"), r
			}, v1alpha1.ReasonDenied, "not in force"),
		Entry("a condition that may cost too much, by its text",
			func(p builders.PolicyBuilder, r builders.RequestBuilder) (builders.PolicyBuilder, builders.RequestBuilder) {
				digits := "[1,2,3,4,5,6,7,8,9,0]"
				return p.If(digits+".all(a, "+digits+".all(b, "+digits+".all(c, "+digits+".all(d, "+digits+".all(e, "+digits+
					".all(f, a+b+c+d+e+f >= 0))))))", "x"), r
			}, v1alpha1.ReasonDenied, "not in force", "may cost "),
		Entry("a condition that runs too long",
			func(p builders.PolicyBuilder, r builders.RequestBuilder) (builders.PolicyBuilder, builders.RequestBuilder) {
				// It is true. CEL counts the lengths of the pattern and of what it searches.
				dear := "!request.spec.reason.matches('^" + strings.Repeat("z", 150) + "')"
				return p.If(dear+" && "+dear+" && "+dear, "x"), r.Because(strings.Repeat("y", 1024))
			}, v1alpha1.ReasonDenied, "it costs more than "),
		Entry("a role that the policy does not offer",
			func(p builders.PolicyBuilder, r builders.RequestBuilder) (builders.PolicyBuilder, builders.RequestBuilder) {
				return p, r.ForClusterRole("writer")
			}, v1alpha1.ReasonNoMatchingPolicy, "writer", "reader"),
		Entry("a role that does not exist",
			func(p builders.PolicyBuilder, r builders.RequestBuilder) (builders.PolicyBuilder, builders.RequestBuilder) {
				return p.Allowing("nowhere"), r.ForClusterRole("nowhere")
			}, v1alpha1.ReasonRoleNotFound, "nowhere", "does not exist"),
		Entry("a dangerous role", func(p builders.PolicyBuilder, r builders.RequestBuilder) (builders.PolicyBuilder, builders.RequestBuilder) {
			return p.Allowing("cluster-admin"), r.ForClusterRole("cluster-admin")
		}, v1alpha1.ReasonDenied, "cluster-admin", "allowDangerousRoles"),
		Entry("a homoglyph of the requester",
			func(p builders.PolicyBuilder, r builders.RequestBuilder) (builders.PolicyBuilder, builders.RequestBuilder) {
				return p.From(builders.User("аlice")), r // Cyrillic а
			}, v1alpha1.ReasonNoMatchingPolicy, `requester "alice"`),
		Entry("somebody who is no grantee",
			func(p builders.PolicyBuilder, r builders.RequestBuilder) (builders.PolicyBuilder, builders.RequestBuilder) {
				return p.To(builders.User("bob")), r.To(builders.User("eve")).NotAfter(time.Now().Add(time.Hour).Truncate(time.Second))
			}, v1alpha1.ReasonDenied, `"eve"`, `"bob"`),
		Entry("another policy by name",
			func(p builders.PolicyBuilder, r builders.RequestBuilder) (builders.PolicyBuilder, builders.RequestBuilder) {
				return p, r.UnderPolicy("other")
			}, v1alpha1.ReasonNoMatchingPolicy, "other", "does not exist"),
		Entry("notAfter in the past",
			func(p builders.PolicyBuilder, r builders.RequestBuilder) (builders.PolicyBuilder, builders.RequestBuilder) {
				return p, r.NotAfter(time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC))
			}, v1alpha1.ReasonDenied, "notAfter 2025-01-01T00:00:00Z is in the past"),
	)

	It("is told that its role gives nothing in a namespace", func(ctx SpecContext) {
		role := builders.ClusterRole("nodes-"+ns, builders.Rule("", "nodes", "get"))
		Expect(admin.Create(ctx, role)).To(Succeed())
		req := refused(ctx, policyFor(ns).Allowing(role.Name), builders.Request("nodes").In(ns).ForClusterRole(role.Name), v1alpha1.ReasonDenied)
		Expect(message(req)).To(ContainSubstring("gives nothing here: all that it allows (nodes) is in no namespace"))
	})

	It("is granted once a role without rules has some", func(ctx SpecContext) {
		local := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "empty-" + ns}}
		Expect(admin.Create(ctx, local)).To(Succeed())
		p := policyFor(ns).Build()
		p.Spec.Roles = []v1alpha1.RoleRef{{Kind: v1alpha1.RoleKind, Name: local.Name}}
		Expect(admin.Create(ctx, p)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { Expect(admin.Delete(ctx, p)).To(Succeed()) })
		req := builders.Request("empty").In(ns).ForRole(local.Name).Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonRoleEmpty))
		Expect(message(req)).To(ContainSubstring("has no rules, so that it gives nothing; it is tried again"))

		local.Rules = []rbacv1.PolicyRule{builders.Rule("", "configmaps", "get")}
		Expect(admin.Update(ctx, local)).To(Succeed())
		letBind(ctx, "roles", local.Name)
		Eventually(func(g Gomega) {
			h.settle(ctx, req)
			g.Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))
		}).WithContext(ctx).Should(Succeed())
	})

	It("is told that its namespace is reserved", func(ctx SpecContext) {
		newPolicy(ctx, builders.Policy("p-"+ns).Allowing("reader").In("kube-public"))
		req := builders.Request("reserved-" + ns).In("kube-public").ForClusterRole("reader").Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonDenied))
		Expect(message(req)).To(ContainSubstring("reserved"))
	})

	It("is refused when its namespace is being deleted", func(ctx SpecContext) {
		newPolicy(ctx, policyFor(ns))
		req := requestIn(ns)
		Expect(alice.Create(ctx, req)).To(Succeed())
		Expect(admin.Delete(ctx, builders.Namespace(ns))).To(Succeed())
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonDenied))
		Expect(message(req)).To(ContainSubstring("is being deleted"))
	})

	It("cannot be made to fill the operator's memory with labels and annotations", func(ctx SpecContext) {
		many := func(n, size int) map[string]string {
			out := map[string]string{}
			for i := range n {
				out[fmt.Sprintf("example.com/k%d", i)] = strings.Repeat("v", size)
			}
			return out
		}
		for limit, change := range map[string]func(*v1alpha1.AccessRequest){
			"at most 32 labels":                func(r *v1alpha1.AccessRequest) { r.Labels = many(33, 10) },
			"at most 32 annotations":           func(r *v1alpha1.AccessRequest) { r.Annotations = many(33, 10) },
			"at most 8192 characters together": func(r *v1alpha1.AccessRequest) { r.Annotations = many(2, 4097) },
			"metadata.finalizers must be left out when an AccessRequest is created": func(r *v1alpha1.AccessRequest) {
				r.Finalizers = []string{"example.com/pin"}
			},
		} {
			r := requestIn(ns)
			change(r)
			Expect(alice.Create(ctx, r)).To(MatchError(ContainSubstring(limit)), limit)
		}
		r := requestIn(ns)
		r.Labels, r.Annotations = many(32, 10), many(32, 256)
		Expect(alice.Create(ctx, r)).To(Succeed())
		r.GenerateName = strings.Repeat("g", 254)
		Expect(admin.Update(ctx, r)).To(MatchError(ContainSubstring("metadata.generateName may have at most 253 characters")))
		r.GenerateName, r.Finalizers = "", []string{"example.com/pin"}
		Expect(admin.Update(ctx, r)).To(MatchError(ContainSubstring("metadata.finalizers may only be removed; " +
			"one would keep the access when the request is deleted while no operator runs")))
	})

	It("has no owner, which somebody could delete it by", func(ctx SpecContext) {
		owner := metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "mine", UID: "1"}
		refused := MatchError(ContainSubstring("the record of the access"))
		r := requestIn(ns)
		r.OwnerReferences = []metav1.OwnerReference{owner}
		Expect(alice.Create(ctx, r.DeepCopy())).To(refused)
		r.OwnerReferences = nil
		Expect(alice.Create(ctx, r)).To(Succeed())
		mallory := mayEverything(ctx)
		patch := []byte(`{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"mine","uid":"1"}]}}`)
		Expect(mallory.Patch(ctx, r.DeepCopy(), client.RawPatch(types.MergePatchType, patch))).To(refused)
		r.OwnerReferences = []metav1.OwnerReference{owner}
		Expect(admin.Update(ctx, r)).To(refused)
		collector, err := plane.User("system:kube-controller-manager", "system:masters")
		Expect(err).NotTo(HaveOccurred())
		Expect(clientOf(collector).Patch(ctx, r, client.RawPatch(types.MergePatchType, patch))).To(Succeed(), "the collector follows them")
	})

	It("says what the API server said when it refuses the binding for another reason", func(ctx SpecContext) {
		newPolicy(ctx, policyFor(ns))
		forbidBindings(ctx, ns)
		r := requestIn(ns)
		Expect(alice.Create(ctx, r)).To(Succeed())
		h.settle(ctx, r)
		Expect(r).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonBindFailed))
		Expect(message(r)).To(ContainSubstring("no bindings here, says the platform team"))
	})

	It("with the longest names that there are does no harm", func(ctx SpecContext) {
		newPolicy(ctx, policyFor(ns).From(builders.Group("askers")))
		req := builders.Request(strings.Repeat("a", 253)).In(ns).ForClusterRole("reader").Because(strings.Repeat("ü", 1024)).Build()
		longName := user(strings.Repeat("ö", 31), strings.Repeat("g", 60))
		Expect(longName.Create(ctx, req)).To(Succeed())
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))
		Expect(bindingOf(ctx, req).Subjects[0].Name).To(Equal(strings.Repeat("ö", 31)))
	})
})

var _ = Describe("A decision", func() {
	It("holds as many labels and annotations as a request, and no more, when it is made and later", func(ctx SpecContext) {
		c := newCourt(ctx)
		many := func(n, size int) map[string]string {
			out := map[string]string{}
			for i := range n {
				out[fmt.Sprintf("example.com/k%d", i)] = strings.Repeat("v", size)
			}
			return out
		}
		tooMuch := map[string]func(*v1alpha1.AccessDecision){
			"metadata.labels may hold at most 32 labels":           func(d *v1alpha1.AccessDecision) { d.Labels = many(33, 1) },
			"metadata.annotations may hold at most 32 annotations": func(d *v1alpha1.AccessDecision) { d.Annotations = many(33, 1) },
			"metadata.annotations may hold at most 8192 characters together": func(d *v1alpha1.AccessDecision) {
				d.Annotations = many(32, 256)
				d.Annotations["example.com/k0"] += "v"
			},
		}
		for limit, change := range tooMuch {
			c.refused(ctx, c.bob, limit, change)
		}
		d := builders.Decision("full", c.req, v1alpha1.VerdictApprove)
		d.Labels, d.Annotations = many(32, 1), many(32, 256)
		Expect(c.bob.Create(ctx, d)).To(Succeed())

		By("adding to it later, also as an admin")
		for limit, change := range tooMuch {
			for _, as := range []client.Client{c.bob, admin} {
				more := d.DeepCopy()
				change(more)
				Expect(as.Update(ctx, more)).To(MatchError(ContainSubstring(limit)), limit)
			}
		}
		d.GenerateName = strings.Repeat("g", 254)
		Expect(c.bob.Update(ctx, d.DeepCopy())).To(MatchError(ContainSubstring("metadata.generateName may have at most 253 characters")))
		d.GenerateName = strings.Repeat("g", 253)
		Expect(c.bob.Update(ctx, d)).To(Succeed())
	})
})

// forbidBindings installs an admission policy of somebody else's.
func forbidBindings(ctx SpecContext, ns string) {
	GinkgoHelper()
	bindings := operator.Foreign{
		Namespace: ns, Group: rbacv1.GroupName, Resource: "rolebindings",
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
	}
	remove, err := bindings.Refuse(ctx, admin, "no bindings here, says the platform team")
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func(ctx SpecContext) { Expect(remove(ctx)).To(Succeed()) })
	probe := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "probe"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "reader"},
	}
	Eventually(func() error { return admin.Create(ctx, probe.DeepCopy(), client.DryRunAll) }).WithContext(ctx).ShouldNot(Succeed())
}
