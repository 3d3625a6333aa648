// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

var configMaps = corev1.SchemeGroupVersion.WithKind("ConfigMapList")

var _ = Describe("A request that a policy allows", func() {
	var (
		h     *harness
		ns    string
		alice client.Client
		p     *v1alpha1.AccessPolicy
	)
	BeforeEach(func(ctx SpecContext) {
		h, ns, alice = newHarness(), newNamespace(ctx), user("alice")
		p = newPolicy(ctx, builders.Policy("p-"+ns).Allowing("reader", "unbindable", "forbidden").In(ns))
	})

	It("keeps access until the deadline and loses it at the deadline", func(ctx SpecContext) {
		expectAccess(ctx, alice, ns, false)
		req := h.granted(ctx, alice, builders.Request("story").In(ns).ForClusterRole("reader").Lasting(10*time.Minute).Build())
		expectAccess(ctx, alice, ns, true)
		Expect(req.Status.Grant.ExpiresAt.Sub(req.Status.Grant.GrantedAt.Time)).To(Equal(10 * time.Minute))

		h.clock.SetTime(req.Status.Grant.ExpiresAt.Add(-time.Second))
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))
		expectAccess(ctx, alice, ns, true)

		h.clock.SetTime(req.Status.Grant.ExpiresAt.Time)
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonExpired))
		Expect(req).To(haveCondition(v1alpha1.ConditionGranted, metav1.ConditionFalse, v1alpha1.ReasonExpired))
		Expect(bindingOf(ctx, req)).To(BeNil())
		expectAccess(ctx, alice, ns, false)

		h.clock.Step(time.Hour)
		h.settle(ctx, req)
		Expect(bindingOf(ctx, req)).To(BeNil(), "a finished request never grants again")
	})

	It("has a binding that names its request, its end and its owner", func(ctx SpecContext) {
		req := h.granted(ctx, alice, builders.Request("named").In(ns).ForClusterRole("reader").Build())
		b := bindingOf(ctx, req)
		Expect(b.Name).To(Equal("lapse-named-" + string(req.UID)[:8]))
		Expect(b.Annotations).To(HaveKeyWithValue(v1alpha1.ExpiresAtAnnotation, req.Status.Grant.ExpiresAt.UTC().Format(time.RFC3339)))
		Expect(b.OwnerReferences).To(HaveExactElements(HaveField("UID", req.UID)))
		Expect(b.Subjects).To(Equal([]rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "alice"}}))
		Expect(b.Finalizers).To(BeEmpty())
		Expect(req.Finalizers).To(BeEmpty())
	})

	It("waits for its notBefore and ends at its notAfter", func(ctx SpecContext) {
		// Not so far ahead that the API server would not believe create-by.
		start := h.clock.Now().Add(40 * time.Second).Truncate(time.Second)
		req := builders.Request("window").In(ns).ForClusterRole("reader").Lasting(time.Hour).NotBefore(start).NotAfter(start.Add(time.Minute)).
			Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionUnknown, v1alpha1.ReasonScheduled))
		Expect(bindingOf(ctx, req)).To(BeNil())

		h.clock.SetTime(start.Add(-time.Second))
		h.settle(ctx, req)
		Expect(bindingOf(ctx, req)).To(BeNil())

		h.clock.SetTime(start)
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))
		Expect(req.Status.Grant.ExpiresAt.Time).To(BeTemporally("==", start.Add(time.Minute)))
	})

	It("is revoked when its policy is deleted", func(ctx SpecContext) {
		req := h.granted(ctx, alice, builders.Request("policy-gone").In(ns).ForClusterRole("reader").Build())
		Expect(admin.Delete(ctx, p)).To(Succeed())
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonPolicyWithdrawn))
		expectAccess(ctx, alice, ns, false)
	})

	It("is revoked from one person alone by a condition of its policy", func(ctx SpecContext) {
		p.Spec.Requesters = append(p.Spec.Requesters, builders.User("bob"))
		Expect(admin.Update(ctx, p)).To(Succeed())
		hers := h.granted(ctx, alice, builders.Request("hers").In(ns).ForClusterRole("reader").Build())
		his := h.granted(ctx, user("bob"), builders.Request("his").In(ns).ForClusterRole("reader").Build())
		p.Spec.Conditions = []v1alpha1.PolicyCondition{
			{Expression: "request.spec.requester.username != 'alice'", Message: "alice may not have access at present"},
			{Expression: "!has(request.spec.subject) || request.spec.subject.name != 'alice'", Message: "alice may not have access at present"},
		}
		Expect(admin.Update(ctx, p)).To(Succeed())
		h.settle(ctx, hers)
		h.settle(ctx, his)
		Expect(hers).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonPolicyWithdrawn))
		Expect(his).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))
	})

	It("is revoked when its policy is deleted, and a finalizer keeps that", func(ctx SpecContext) {
		p.Finalizers = []string{"example.com/keep"}
		Expect(admin.Update(ctx, p)).To(Succeed())
		req := h.granted(ctx, alice, builders.Request("policy-kept").In(ns).ForClusterRole("reader").Build())
		Expect(admin.Delete(ctx, p)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) {
			Expect(admin.Get(ctx, client.ObjectKeyFromObject(p), p)).To(Succeed())
			p.Finalizers = nil
			Expect(admin.Update(ctx, p)).To(Succeed())
		})
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonPolicyWithdrawn))
		expectAccess(ctx, alice, ns, false)
	})

	It("is revoked when its policy allows less than was given, and not when it changes otherwise", func(ctx SpecContext) {
		req := h.granted(ctx, alice, builders.Request("policy-narrowed").In(ns).ForClusterRole("reader").Lasting(time.Hour).Build())
		p.Spec.Requesters = append(p.Spec.Requesters, builders.User("bob"))
		Expect(admin.Update(ctx, p)).To(Succeed())
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))

		p.Spec.MaxDuration = metav1.Duration{Duration: 59 * time.Minute}
		Expect(admin.Update(ctx, p)).To(Succeed())
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonPolicyWithdrawn))
		Expect(bindingOf(ctx, req)).To(BeNil())
	})

	It("is never granted while the policy asks for approval, and times out", func(ctx SpecContext) {
		p.Spec.Approvals = []v1alpha1.ApprovalRule{{From: []v1alpha1.Subject{builders.User("bob")}, Count: 1}}
		Expect(admin.Update(ctx, p)).To(Succeed())
		req := builders.Request("approval").In(ns).ForClusterRole("reader").Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionUnknown, v1alpha1.ReasonPendingApproval))
		h.clock.SetTime(req.CreationTimestamp.Add(time.Hour))
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonApprovalTimedOut))
		Expect(bindingOf(ctx, req)).To(BeNil())
	})

	It("says so when the operator may not bind the role, and is granted once it may", func(ctx SpecContext) {
		req := builders.Request("bind").In(ns).ForClusterRole("unbindable").Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonBindForbidden))
		Expect(message(req)).To(ContainSubstring("the operator may not bind ClusterRole unbindable"))
		Expect(message(req)).To(ContainSubstring(`resourceNames: ["unbindable"]`))

		allowBind(ctx, "later", rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: "lapse-system", Name: "lapse-manager"}, "unbindable")
		Eventually(func(g Gomega) {
			h.settle(ctx, req)
			g.Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))
		}).WithContext(ctx).Should(Succeed())
	})

	It("says so when the role does not exist, and is granted once it does", func(ctx SpecContext) {
		p.Spec.Roles = append(p.Spec.Roles, v1alpha1.RoleRef{Kind: v1alpha1.RoleKind, Name: "local"})
		Expect(admin.Update(ctx, p)).To(Succeed())
		req := builders.Request("role").In(ns).ForRole("local").Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonRoleNotFound))
		Expect(message(req)).To(ContainSubstring("local"))
		Expect(bindingOf(ctx, req)).To(BeNil())
	})

	It("ends by the API server's clock when the operator's is ten minutes behind or ahead", func(ctx SpecContext) {
		for name, skew := range map[string]time.Duration{"behind": -10 * time.Minute, "ahead": 10 * time.Minute} {
			h := newHarness()
			req := h.granted(ctx, alice, builders.Request(name).In(ns).ForClusterRole("reader").Lasting(30*time.Minute).Build())
			h.setSkew(skew)
			h.clock.SetTime(req.Status.Grant.ExpiresAt.Add(skew - time.Second))
			h.settle(ctx, req)
			Expect(bindingOf(ctx, req)).NotTo(BeNil(), name+": not a second early")
			h.clock.Step(time.Second)
			h.settle(ctx, req)
			Expect(bindingOf(ctx, req)).To(BeNil(), name)
			Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonExpired), name)
		}
	})

	It("is not granted a day late, nor planned a year ahead", func(ctx SpecContext) {
		req := builders.Request("late").In(ns).ForClusterRole("forbidden").Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonBindForbidden))
		h.clock.SetTime(req.CreationTimestamp.Add(24*time.Hour + time.Second))
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonDenied))
		Expect(message(req)).To(ContainSubstring("is not given later"))

		h = newHarness()
		ahead := builders.Request("ahead").In(ns).ForClusterRole("reader").NotBefore(h.clock.Now().AddDate(1, 0, 0).Truncate(time.Second)).Build()
		Expect(alice.Create(ctx, ahead)).To(Succeed())
		h.settle(ctx, ahead)
		Expect(ahead).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonDenied))
		Expect(message(ahead)).To(ContainSubstring("more than 30 days after the request was made"))

		years := builders.Request("years").In(ns).ForClusterRole("reader").NotAfter(h.clock.Now().AddDate(2, 0, 0).Truncate(time.Second)).Build()
		Expect(alice.Create(ctx, years)).To(Succeed())
		h.settle(ctx, years)
		Expect(years).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonDenied))
		Expect(message(years)).To(ContainSubstring("which is 30 days and the longest access (4h) after the request was made"))
	})

	It("grants nothing while the clocks are too far apart", func(ctx SpecContext) {
		h.setSkew(-31 * time.Second)
		req := builders.Request("skew").In(ns).ForClusterRole("reader").Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonClockSkew))
		h.setSkew(0)
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))
	})

	It("is not deleted before its notAfter, until which its manifest could give access again", func(ctx SpecContext) {
		end := h.clock.Now().Add(30*24*time.Hour + 3*time.Hour).Truncate(time.Second)
		req := h.granted(ctx, alice, builders.Request("kept").In(ns).ForClusterRole("reader").NotAfter(end).Build())
		h.clock.Step(time.Hour)
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonExpired))
		h.clock.SetTime(end.Add(-time.Second)) // the retention time is over
		h.settle(ctx, req)
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(Succeed())
		h.clock.SetTime(end)
		h.settle(ctx, req)
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(req), req)).NotTo(Succeed())
	})

	It("is deleted after the retention time, unless GitOps tracks it", func(ctx SpecContext) {
		plain := h.granted(ctx, alice, builders.Request("plain").In(ns).ForClusterRole("reader").Build())
		git := builders.Request("git").In(ns).ForClusterRole("reader").Build()
		git.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": "app:lapse.dev/AccessRequest:x/git"}
		h.granted(ctx, alice, git)
		h.clock.Step(time.Hour)
		h.settle(ctx, plain)
		h.settle(ctx, git)
		h.clock.SetTime(plain.Status.Grant.EndedAt.Add(30*24*time.Hour + time.Hour))
		h.settle(ctx, plain)
		h.settle(ctx, git)
		Expect(client.IgnoreNotFound(admin.Get(ctx, client.ObjectKeyFromObject(git), git))).To(Succeed())
		Expect(git.Status.State).To(Equal(v1alpha1.StateExpired))
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(plain), plain)).NotTo(Succeed())
	})
})

var _ = Describe("A binding that nothing guards", Ordered, func() {
	var (
		h     *harness
		ns    string
		alice client.Client
	)
	BeforeAll(func(ctx SpecContext) { removeGuard(ctx, operator.ManagedBindingGuard) })
	BeforeEach(func(ctx SpecContext) {
		h, ns, alice = newHarness(), newNamespace(ctx), user("alice")
		newPolicy(ctx, builders.Policy("p-"+ns).Allowing("reader").In(ns))
	})

	DescribeTable("that was changed is removed",
		func(ctx SpecContext, change func(*rbacv1.RoleBinding)) {
			req := h.granted(ctx, alice, builders.Request("tampered").In(ns).ForClusterRole("reader").Build())
			b := bindingOf(ctx, req)
			change(b)
			Expect(admin.Update(ctx, b)).To(Succeed())
			h.settle(ctx, req)
			Expect(req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonTampered))
			expectAccess(ctx, alice, ns, false)
		},
		Entry("a subject added", func(b *rbacv1.RoleBinding) {
			b.Subjects = append(b.Subjects, rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: "eve"})
		}),
		Entry("the expiry put off", func(b *rbacv1.RoleBinding) { b.Annotations[v1alpha1.ExpiresAtAnnotation] = "2099-01-01T00:00:00Z" }),
		Entry("the expiry removed", func(b *rbacv1.RoleBinding) { delete(b.Annotations, v1alpha1.ExpiresAtAnnotation) }),
		Entry("all labels removed", func(b *rbacv1.RoleBinding) { b.Labels = nil }),
		Entry("the owner removed", func(b *rbacv1.RoleBinding) { b.OwnerReferences = nil }),
	)

	It("that a finalizer keeps loses its subjects, and goes when the finalizer does", func(ctx SpecContext) {
		req := h.granted(ctx, alice, builders.Request("pinned").In(ns).ForClusterRole("reader").Build())
		b := bindingOf(ctx, req)
		b.Finalizers = []string{"example.com/pin"}
		Expect(admin.Update(ctx, b)).To(Succeed())

		h.drainEvents()
		Expect(h.step(ctx, req)).To(Succeed())
		expectAccess(ctx, alice, ns, false)
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(Succeed())
		Expect(req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonTampered))
		Expect(h.drainEvents()).To(ConsistOf(
			"Warning BindingPinned nobody holds the role by RoleBinding "+b.Name+
				" any more, but finalizers keep the object: example.com/pin. Find out who set them; "+
				"to remove it: kubectl -n "+ns+" patch rolebinding "+b.Name+` --type=merge -p '{"metadata":{"finalizers":null}}'`,
			HavePrefix("Warning Tampered"),
		))
		b = bindingOf(ctx, req)
		Expect(b.Subjects).To(BeEmpty())
		Expect(b.DeletionTimestamp).NotTo(BeNil())

		version := b.ResourceVersion
		Expect(h.step(ctx, req)).To(MatchError(ContainSubstring("remove its finalizers [example.com/pin]")))
		Expect(h.drainEvents()).To(BeEmpty(), "told once")
		b = bindingOf(ctx, req)
		Expect(b.ResourceVersion).To(Equal(version), "nothing more is to be done to it")
		b.Finalizers = nil
		Expect(admin.Update(ctx, b)).To(Succeed())
		h.settle(ctx, req)
		Expect(bindingOf(ctx, req)).To(BeNil())
	})

	It("that somebody deleted in the foreground is gone at once", func(ctx SpecContext) {
		req := h.granted(ctx, alice, builders.Request("foreground").In(ns).ForClusterRole("reader").Build())
		// No collector runs here, and in a cluster it may have to wait for what somebody made.
		Expect(admin.Delete(ctx, bindingOf(ctx, req), client.PropagationPolicy(metav1.DeletePropagationForeground))).To(Succeed())
		Expect(bindingOf(ctx, req).Finalizers).To(Equal([]string{metav1.FinalizerDeleteDependents}))
		h.settle(ctx, req)
		Expect(bindingOf(ctx, req)).To(BeNil())
		expectAccess(ctx, alice, ns, false)
	})

	for also, roleGoes := range map[string]bool{"": false, ", which is gone as well": true} {
		It("that a finalizer keeps goes although the operator may not bind the role any more"+also, func(ctx SpecContext) {
			role := builders.ClusterRole("withdrawn-"+ns, builders.Rule("", "configmaps", "list"))
			Expect(admin.Create(ctx, role)).To(Succeed())
			newPolicy(ctx, builders.Policy("w-"+ns).Allowing(role.Name).In(ns))
			allowBind(ctx, role.Name, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: "lapse-system", Name: "lapse-manager"}, role.Name)
			req := builders.Request("withdrawn").In(ns).ForClusterRole(role.Name).Build()
			Expect(alice.Create(ctx, req)).To(Succeed())
			Eventually(func(g Gomega) {
				h.settle(ctx, req)
				g.Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))
			}).WithContext(ctx).Should(Succeed())
			expectAccess(ctx, alice, ns, true)
			b := bindingOf(ctx, req)
			b.Finalizers = []string{"example.com/pin"}
			Expect(admin.Update(ctx, b)).To(Succeed())
			Expect(admin.Delete(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "may-bind-" + role.Name}})).To(Succeed())
			if roleGoes {
				Expect(admin.Delete(ctx, role)).To(Succeed())
			}
			h.clock.SetTime(req.Status.Grant.ExpiresAt.Time)
			Eventually(func() error { return h.step(ctx, req) }).WithContext(ctx).Should(Succeed())
			expectAccess(ctx, alice, ns, false)
			h.settle(ctx, req)
			Expect(bindingOf(ctx, req)).To(BeNil())
		})
	}

	It("of a stranger under our name is neither adopted nor deleted", func(ctx SpecContext) {
		req := builders.Request("stranger").In(ns).ForClusterRole("reader").Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		stranger := &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: binding.Name(req)},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "writer"},
			Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "eve"}},
		}
		Expect(admin.Create(ctx, stranger)).To(Succeed())
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonBindingConflict))
		Expect(message(req)).To(ContainSubstring(stranger.Name + " exists and is not Lapse's"))
		Expect(bindingOf(ctx, req).Subjects).To(Equal(stranger.Subjects))
		expectAccess(ctx, alice, ns, false)

		Expect(admin.Delete(ctx, stranger)).To(Succeed())
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))
	})
})

var _ = Describe("A binding", func() {
	var (
		h     *harness
		ns    string
		alice client.Client
	)
	BeforeEach(func(ctx SpecContext) {
		h, ns, alice = newHarness(), newNamespace(ctx), user("alice")
		newPolicy(ctx, builders.Policy("p-"+ns).Allowing("reader").In(ns))
	})

	It("that somebody deleted stays deleted", func(ctx SpecContext) {
		req := h.granted(ctx, alice, builders.Request("unbound").In(ns).ForClusterRole("reader").Build())
		Expect(admin.Delete(ctx, bindingOf(ctx, req))).To(Succeed())
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonRevoked))
		Expect(bindingOf(ctx, req)).To(BeNil())
	})

	It("goes when its request is gone", func(ctx SpecContext) {
		req := h.granted(ctx, alice, builders.Request("deleted").In(ns).ForClusterRole("reader").Build())
		Expect(admin.Delete(ctx, req)).To(Succeed())
		Expect(h.step(ctx, req)).To(Succeed())
		Expect(bindingOf(ctx, req)).To(BeNil())
	})
})

var _ = Describe("An operator that is killed", func() {
	var (
		h     *harness
		ns    string
		alice client.Client
		req   *v1alpha1.AccessRequest
	)
	BeforeEach(func(ctx SpecContext) {
		h, ns, alice = newHarness(), newNamespace(ctx), user("alice")
		newPolicy(ctx, builders.Policy("p-"+ns).Allowing("reader").In(ns))
		req = h.granted(ctx, alice, builders.Request("killed").In(ns).ForClusterRole("reader").Lasting(10*time.Minute).Build())
	})

	// forgetStatus leaves what a kill between the two writes of a grant leaves.
	forgetStatus := func(ctx SpecContext) {
		GinkgoHelper()
		req.Status = v1alpha1.AccessRequestStatus{ObservedGeneration: -1}
		Expect(asOperator.Status().Update(ctx, req)).To(Succeed())
	}

	It("after the binding was created records the grant with the same end", func(ctx SpecContext) {
		end := req.Status.Grant.ExpiresAt
		forgetStatus(ctx)
		h.clock.Step(time.Minute)
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))
		Expect(req.Status.Grant.ExpiresAt.Time).To(BeTemporally("==", end.Time))
	})

	It("and killed again at every step never grants twice", func(ctx SpecContext) {
		forgetStatus(ctx)
		h.clock.Step(time.Hour)
		key := client.ObjectKeyFromObject(req)

		By("ending access, and being killed before anything is recorded")
		err := h.end(ctx, client.ObjectKeyFromObject(bindingOf(ctx, req)))
		Expect(err).NotTo(HaveOccurred())
		expectAccess(ctx, alice, ns, false)
		Expect(bindingOf(ctx, req)).NotTo(BeNil(), "the trace of the grant stays until it is recorded")
		Expect(bindingOf(ctx, req).Subjects).To(BeEmpty(), "the trace of the grant stays until it is recorded")

		By("starting again")
		h2 := newHarness()
		h2.clock.SetTime(h.clock.Now())
		h2.settle(ctx, req)
		Expect(admin.Get(ctx, key, req)).To(Succeed())
		Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonExpired))
		Expect(bindingOf(ctx, req)).To(BeNil())
		expectAccess(ctx, alice, ns, false)
	})
})
