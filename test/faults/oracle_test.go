// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

// An operator that is played by the test does what must never be done, on the real
// API server, and the oracle has to see each of it.
var _ = Describe("The oracle", func() {
	const bound = time.Second
	var s *scene
	found := func(ctx context.Context) []Violation {
		h, now := s.history(), s.state(ctx)
		return append(append(Evaluate(h, now, s.bounds), Unrecorded(h)...), Unsettled(now)...)
	}
	// sees waits, as the log is written a moment after an answer began.
	sees := func(ctx context.Context, invariant, text string) {
		GinkgoHelper()
		Eventually(func() []Violation { return found(ctx) }, 5*time.Second).WithContext(ctx).Should(ContainElement(violates(invariant, text)))
	}
	BeforeEach(func(ctx SpecContext) { s = newScene(ctx, bound, false) })

	It("sees nothing in a life that is as it should be", func(ctx SpecContext) {
		req := ask(ctx, s.request("a"))
		b := bind(ctx, req, time.Hour)
		record(ctx, req, b, v1alpha1.StateActive)
		Expect(found(ctx)).To(BeEmpty())
		Expect(asOperator.Delete(ctx, b)).To(Succeed())
		record(ctx, req, b, v1alpha1.StateRevoked)
		Consistently(func() []Violation { return found(ctx) }, "1s").WithContext(ctx).Should(BeEmpty())
	}, SpecTimeout(time.Minute))

	It("sees a binding without a request", func(ctx SpecContext) {
		req := s.request("a").Build()
		req.UID = "00000000-1111-2222-3333-444455556666"
		req.Spec.Subject = &v1alpha1.Subject{Kind: v1alpha1.UserKind, Name: "alice"}
		b := bind(ctx, req, time.Hour)
		sees(ctx, "I1", "no request has this UID")
		// Garbage collection may have taken it away since.
		Expect(Unsettled(State{Bindings: []rbacv1.RoleBinding{*b}})).To(ContainElement(violates("I1", "its request does not exist")))
	}, SpecTimeout(time.Minute))

	It("sees a binding that somebody else made, or for somebody else, or of another role", func(ctx SpecContext) {
		req := ask(ctx, s.request("a"))
		b := bindingFor(req, time.Hour)
		b.Subjects[0].Name = "mallory"
		b.RoleRef.Name = "another"
		s.bounds.Operator = "system:serviceaccount:lapse-system:another"
		create(ctx, b)
		for _, text := range []string{"creator", "subjects", "roleRef"} {
			sees(ctx, "I1", text)
		}
	}, SpecTimeout(time.Minute))

	It("sees a binding of a request that is not active, and an active request without one", func(ctx SpecContext) {
		req := ask(ctx, s.request("a"))
		b := bind(ctx, req, time.Hour)
		sees(ctx, "I1", `its request is ""`)
		sees(ctx, "I6", "no status records the grant")
		record(ctx, req, b, v1alpha1.StateActive)
		Expect(asOperator.Delete(ctx, b)).To(Succeed())
		sees(ctx, "I1", "is active and has 0 bindings")
		sees(ctx, "I6", "no status records the end")
	}, SpecTimeout(time.Minute))

	It("sees a binding that outlives its end, and one that ends before it", func(ctx SpecContext) {
		req, early := ask(ctx, s.request("a")), ask(ctx, s.request("early"))
		bind(ctx, req, 2*time.Second)
		b := bind(ctx, early, time.Hour)
		Expect(asOperator.Delete(ctx, b)).To(Succeed())
		record(ctx, early, b, v1alpha1.StateExpired)
		sees(ctx, "I2", "before its end")
		sees(ctx, "I2", "the bound is 1s")
	}, SpecTimeout(time.Minute))

	It("sees an end that is later than notAfter or than the ceiling, and a grant before notBefore", func(ctx SpecContext) {
		bounded := ask(ctx, s.request("bounded").NotAfter(time.Now().Add(time.Minute)))
		bind(ctx, bounded, 10*time.Minute)
		sees(ctx, "I2", "later than its notAfter")
		unbounded := s.request("unbounded").Build()
		unbounded.Spec.Duration = nil
		Expect(alice.Create(ctx, unbounded)).To(Succeed())
		b := bind(ctx, unbounded, 20*time.Hour)
		sees(ctx, "I2", "after it was made")
		h := s.history()
		h.Policies = nil
		Expect(Evaluate(h, s.state(ctx), s.bounds)).NotTo(ContainElement(violates("I2", "after it was made")))
		h.Bindings[b.UID].CreatedAt = b.CreationTimestamp.Add(-ceiling) // admission refuses a longer one
		Expect(Evaluate(h, s.state(ctx), s.bounds)).To(ContainElement(violates("I2", "later than 24h0m0s after it was made")))
		later := ask(ctx, s.request("later").NotBefore(time.Now().Add(time.Minute)))
		bind(ctx, later, time.Minute)
		sees(ctx, "I1", "too soon")
	}, SpecTimeout(time.Minute))

	It("sees that status says of access that goes on that it is over, or ended before it did", func(ctx SpecContext) {
		over, ended := ask(ctx, s.request("over")), ask(ctx, s.request("ended"))
		b, other := bind(ctx, over, time.Hour), bind(ctx, ended, time.Hour)
		record(ctx, over, b, v1alpha1.StateRevoked)
		record(ctx, ended, other, v1alpha1.StateRevoked)
		sees(ctx, "I3", "the request was Revoked at")
		until(ctx, ended.Status.Grant.EndedAt.Add(time.Second+time.Second))
		Expect(asOperator.Delete(ctx, other)).To(Succeed())
		sees(ctx, "I6", "status says that it ended at")
	}, SpecTimeout(time.Minute))

	It("sees a no that is not heard", func(ctx SpecContext) {
		req := ask(ctx, s.request("a"))
		record(ctx, req, bind(ctx, req, time.Hour), v1alpha1.StateActive)
		decide(ctx, bob, req, v1alpha1.VerdictRevoke)
		sees(ctx, "I5", "though bob said no")
	}, SpecTimeout(time.Minute))

	It("sees an end that is later than what was asked for, or grows", func(ctx SpecContext) {
		long := ask(ctx, s.request("long").Lasting(time.Minute))
		bind(ctx, long, 10*time.Minute)
		sees(ctx, "I2", "later than 1m0s after it was made")
		req := ask(ctx, s.request("a"))
		b := bind(ctx, req, time.Hour)
		record(ctx, req, b, v1alpha1.StateActive)
		later := b.DeepCopy()
		later.Annotations[v1alpha1.ExpiresAtAnnotation] = time.Now().Add(2 * time.Hour).UTC().Format(time.RFC3339)
		record(ctx, req, later, v1alpha1.StateActive)
		sees(ctx, "I2", "in status")
	}, SpecTimeout(time.Minute))

	It("sees a second grant, a grant after a refusal, and a state after the end", func(ctx SpecContext) {
		req := ask(ctx, s.request("a"))
		b := bind(ctx, req, time.Hour)
		Expect(asOperator.Delete(ctx, b)).To(Succeed())
		bind(ctx, req, time.Hour)
		sees(ctx, "I3", "granted 2 times")
		refused := ask(ctx, s.request("refused"))
		record(ctx, refused, nil, v1alpha1.StateDenied)
		b = bind(ctx, refused, time.Hour)
		record(ctx, refused, b, v1alpha1.StateActive)
		sees(ctx, "I3", "made after the request was Denied")
		sees(ctx, "I3", "became Active after it was Denied")
	}, SpecTimeout(time.Minute))

	It("sees a grant without the approval that its policy wants, or by the requester's own", func(ctx SpecContext) {
		s = newScene(ctx, bound, true)
		req := ask(ctx, s.request("a"))
		decide(ctx, alice, req, v1alpha1.VerdictApprove)
		decide(ctx, bob, req, v1alpha1.VerdictDeny)
		bind(ctx, req, time.Hour)
		sees(ctx, "I4", "0 approved who neither asked nor get it")
		other := ask(ctx, s.request("b"))
		decide(ctx, bob, other, v1alpha1.VerdictApprove)
		b := bind(ctx, other, time.Hour)
		Consistently(func() []Violation { return found(ctx) }, "500ms").WithContext(ctx).ShouldNot(ContainElement(And(violates("I4", b.Name))))
	}, SpecTimeout(time.Minute))

	It("sees a request that nobody looks at, and one that is active past its end", func(ctx SpecContext) {
		req := ask(ctx, s.request("a"))
		sees(ctx, "I5", "was not looked at")
		record(ctx, req, bind(ctx, req, time.Second), v1alpha1.StateActive)
		sees(ctx, "I5", "active past its end")
	}, SpecTimeout(time.Minute))
})

func violates(invariant, text string) types.GomegaMatcher {
	return And(HaveField("Invariant", invariant), HaveField("Text", ContainSubstring(text)))
}

// bindingFor is what the operator would make.
func bindingFor(req *v1alpha1.AccessRequest, lasting time.Duration) *rbacv1.RoleBinding {
	now := time.Now().UTC()
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: req.Namespace, Name: binding.Name(req),
			Labels: map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy, v1alpha1.RequestUIDLabel: string(req.UID)},
			Annotations: map[string]string{
				v1alpha1.ExpiresAtAnnotation: now.Add(lasting).Truncate(time.Second).Format(time.RFC3339),
				v1alpha1.CreateByAnnotation:  now.Add(binding.CreateWindow).Format(time.RFC3339),
				v1alpha1.RequestAnnotation:   req.Name, v1alpha1.PolicyAnnotation: "p-" + req.Namespace,
			},
			OwnerReferences: []metav1.OwnerReference{
				{APIVersion: v1alpha1.GroupVersion.String(), Kind: "AccessRequest", Name: req.Name, UID: req.UID},
			},
		},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "reader"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "alice"}},
	}
}

// create does what only the operator may. It needs to know of its right to bind.
func create(ctx context.Context, b *rbacv1.RoleBinding) {
	GinkgoHelper()
	Eventually(func() error { return asOperator.Create(ctx, b) }).WithContext(ctx).Should(Succeed())
}

func bind(ctx context.Context, req *v1alpha1.AccessRequest, lasting time.Duration) *rbacv1.RoleBinding {
	GinkgoHelper()
	b := bindingFor(req, lasting)
	create(ctx, b)
	return b
}

// record writes status as the operator would.
func record(ctx context.Context, req *v1alpha1.AccessRequest, b *rbacv1.RoleBinding, state v1alpha1.RequestState) {
	GinkgoHelper()
	Expect(admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(Succeed())
	now := metav1.NewTime(time.Now().Truncate(time.Second))
	req.Status.State = state
	if b != nil {
		end, err := time.Parse(time.RFC3339, b.Annotations[v1alpha1.ExpiresAtAnnotation])
		Expect(err).NotTo(HaveOccurred())
		req.Status.Grant = &v1alpha1.Grant{Binding: b.Name, GrantedAt: now, ExpiresAt: metav1.NewTime(end)}
		if state.Final() {
			req.Status.Grant.EndedAt, req.Status.Grant.EndReason = &now, string(state)
		}
	}
	Expect(asOperator.Status().Update(ctx, req)).To(Succeed())
}

var _ = Describe("The proxy", func() {
	It("passes on who calls, and what he may, and nothing of a fault that concerns others", func(ctx SpecContext) {
		proxy, err := NewProxy(operatorConfig)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(proxy.Close)
		through := operator.NewClient(GinkgoTB(), proxy.Through(operatorConfig))
		proxy.Inject(At(1, 2, func(c Call) bool { return c.Is("list", "accesspolicies") }, Effect{Status: 500}))
		policies := &v1alpha1.AccessPolicyList{}
		Expect(through.List(ctx, policies)).NotTo(Succeed())
		Expect(through.List(ctx, &rbacv1.RoleBindingList{})).To(Succeed())
		Expect(through.List(ctx, policies)).NotTo(Succeed())
		Expect(through.List(ctx, policies)).To(Succeed(), "it was told to fail twice")
		Expect(through.Create(ctx, builders.Namespace("x"))).To(MatchError(ContainSubstring("system:serviceaccount:lapse-system:lapse-manager")))
	}, SpecTimeout(time.Minute))

	It("commits a call of which it does not relay the answer", func(ctx SpecContext) {
		s := newScene(ctx, time.Second, false)
		req := ask(ctx, s.request("a"))
		proxy, err := NewProxy(operatorConfig)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(proxy.Close)
		proxy.Inject(At(1, 1, write(s.ns), Effect{Mute: true}))
		b := bindingFor(req, time.Hour)
		Expect(operator.NewClient(GinkgoTB(), proxy.Through(operatorConfig)).Create(ctx, b)).NotTo(Succeed())
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(b), b)).To(Succeed())
	}, SpecTimeout(time.Minute))
})
