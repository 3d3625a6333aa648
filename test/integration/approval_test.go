// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

func account(ns, name string) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
}

var _ = Describe("A request that needs two people", func() {
	var c *court
	BeforeEach(func(ctx SpecContext) { c = newCourt(ctx) })

	It("says for whom it waits, who approved, and is granted when the last one has", func(ctx SpecContext) {
		mark, err := plane.AuditMark()
		Expect(err).NotTo(HaveOccurred())
		c.h.settle(ctx, c.req)
		Expect(c.req).To(beReady(metav1.ConditionUnknown, v1alpha1.ReasonPendingApproval))
		Expect(message(c.req)).To(HavePrefix(`waits for 1 of Group "leads", and 1 of Group "security" (policy ` + c.policy.Name + `), until `))
		Expect(c.req.Status.Policy.Name).To(Equal(c.policy.Name))

		a := c.approve(ctx, c.bob, "a")
		c.h.settle(ctx, c.req)
		Expect(message(c.req)).To(HavePrefix(`waits for 1 of Group "security"; approved by "bob" (policy `))
		Expect(c.req.Status.Approvals).To(ConsistOf(v1alpha1.Approval{Decision: "a", Reviewer: "bob", Time: a.CreationTimestamp}))
		Expect(bindingOf(ctx, c.req)).To(BeNil())
		expectAccess(ctx, c.alice, c.ns, false)

		c.approve(ctx, c.dave, "b")
		c.h.settle(ctx, c.req)
		Expect(c.req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))
		Expect(c.req).To(haveCondition(v1alpha1.ConditionApproved, metav1.ConditionTrue, v1alpha1.ReasonApproved))
		Expect(c.req.Status.Approvals).To(HaveLen(2))
		expectAccess(ctx, c.alice, c.ns, true)

		By("counting what the operator wrote: one write more for each approval")
		writes, err := plane.Writes(mark, operator.Username)
		Expect(err).NotTo(HaveOccurred())
		Expect(writes).To(HaveLen(2 + 2))
	})

	It("tells once, on it and on the request, of a decision that does not count", func(ctx SpecContext) {
		c.approve(ctx, c.aliceInSecurity, "a")
		c.h.settle(ctx, c.req)
		c.h.settle(ctx, c.req)
		var told []string
		for len(c.h.events.Events) > 0 {
			if e := <-c.h.events.Events; strings.Contains(e, v1alpha1.ReasonDecisionNotCounted) {
				told = append(told, e)
			}
		}
		Expect(told).To(HaveLen(2))
		Expect(told).To(HaveEach(HavePrefix(`Warning DecisionNotCounted approve by "alice" does not count: ` +
			`"alice" asked for the access or gets it`)))
	})

	It("finds a seat for everybody who approves", func(ctx SpecContext) {
		c.approve(ctx, c.carol, "a") // could sit for leads, the only seat that bob can take
		c.approve(ctx, c.bob, "b")
		c.h.settle(ctx, c.req)
		Expect(c.req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))
	})

	It("counts a ServiceAccount that is listed by name", func(ctx SpecContext) {
		c.change(ctx, func(s *v1alpha1.AccessPolicySpec) {
			s.Approvals[1].From = []v1alpha1.Subject{builders.ServiceAccount(c.ns, "robot")}
		})
		c.approve(ctx, c.bob, "a")
		c.approve(ctx, serviceAccount(ctx, c.ns, "robot"), "b")
		c.h.settle(ctx, c.req)
		Expect(c.req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))
	})

	It("counts the requester where the policy says allowSelfApproval", func(ctx SpecContext) {
		c.change(ctx, func(s *v1alpha1.AccessPolicySpec) { s.AllowSelfApproval = true })
		c.approve(ctx, c.bob, "a")
		c.approve(ctx, c.aliceInSecurity, "b")
		c.h.settle(ctx, c.req)
		Expect(c.req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))
	})

	It("waits for its notBefore once it is approved, and is judged again then", func(ctx SpecContext) {
		// The API server would not believe a create-by of so far ahead.
		removeGuard(ctx, operator.ManagedBindingGuard)
		start := c.h.clock.Now().Add(2 * time.Hour).Truncate(time.Second)
		c.req = c.ask(ctx, c.alice, builders.Request("later").In(c.ns).ForClusterRole("reader").NotBefore(start).Build())
		c.approve(ctx, c.bob, "a")
		c.approve(ctx, c.dave, "b")
		c.h.settle(ctx, c.req)
		Expect(c.req).To(beReady(metav1.ConditionUnknown, v1alpha1.ReasonScheduled))
		c.h.clock.SetTime(start)
		c.h.settle(ctx, c.req)
		Expect(c.req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))

		late := c.ask(ctx, c.alice, builders.Request("narrowed").In(c.ns).ForClusterRole("reader").NotBefore(start.Add(time.Hour)).Build())
		c.req = late
		c.h.clock.SetTime(late.CreationTimestamp.Time)
		c.approve(ctx, c.bob, "c")
		c.approve(ctx, c.dave, "d")
		c.h.settle(ctx, c.req)
		c.change(ctx, func(s *v1alpha1.AccessPolicySpec) { s.Requesters = []v1alpha1.Subject{builders.User("zoe")} })
		c.h.clock.SetTime(start.Add(time.Hour))
		c.h.settle(ctx, c.req)
		Expect(c.req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonNoMatchingPolicy))
	})

	It("is denied for good by one of the approvers, who is named with his reason", func(ctx SpecContext) {
		d := builders.Decision("no", c.req, v1alpha1.VerdictDeny)
		d.Spec.Comment = "not during the freeze"
		Expect(c.carol.Create(ctx, d)).To(Succeed())
		c.h.settle(ctx, c.req)
		Expect(c.req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonDenied))
		Expect(message(c.req)).To(Equal(`denied by "carol": "not during the freeze"`))
	})

	It("is denied by a revoker of the policy", func(ctx SpecContext) {
		c.change(ctx, func(s *v1alpha1.AccessPolicySpec) { s.Revokers = []v1alpha1.Subject{builders.User("eve")} })
		c.vote(ctx, c.eve, "no", v1alpha1.VerdictDeny)
		c.approve(ctx, c.bob, "a")
		c.approve(ctx, c.dave, "b")
		c.h.settle(ctx, c.req)
		Expect(c.req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonDenied))
		Expect(message(c.req)).To(Equal(`denied by "eve"`))
	})

	It("has decisions that it owns, and that can be selected by its uid", func(ctx SpecContext) {
		d := c.approve(ctx, c.bob, "a")
		Expect(d.OwnerReferences).
			To(HaveExactElements(metav1.OwnerReference{APIVersion: "lapse.dev/v1alpha1", Kind: "AccessRequest", Name: c.req.Name, UID: c.req.UID}))
		Expect(d.Spec.Reviewer.Username).To(Equal("bob"))
		list := &v1alpha1.AccessDecisionList{}
		Expect(c.bob.List(ctx, list, client.MatchingFields{"spec.requestRef.uid": string(c.req.UID)})).To(Succeed())
		Expect(list.Items).To(HaveLen(1))
		waiting := &v1alpha1.AccessRequestList{}
		c.h.settle(ctx, c.req)
		Expect(c.bob.List(ctx, waiting, client.InNamespace(c.ns), client.MatchingFields{"status.state": "Pending"})).To(Succeed())
		Expect(waiting.Items).To(HaveLen(1))
	})

	It("is approved by whom an impersonator names, and the audit log names the impersonator", func(ctx SpecContext) {
		subject := rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "boss"}
		Expect(admin.Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "impersonator"}, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"users", "groups"}, Verbs: []string{"impersonate"}},
		}})).To(Succeed())
		bindCluster(ctx, "impersonator", "impersonator", subject)
		config, err := plane.User("boss")
		Expect(err).NotTo(HaveOccurred())
		config.Impersonate.UserName, config.Impersonate.Groups = "bob", []string{"leads", "askers"}
		mark, err := plane.AuditMark()
		Expect(err).NotTo(HaveOccurred())
		Eventually(func() error {
			return clientOf(config).Create(ctx, builders.Decision("as-bob", c.req, v1alpha1.VerdictApprove))
		}).WithContext(ctx).Should(Succeed())
		c.approve(ctx, c.dave, "b")
		c.h.settle(ctx, c.req)
		Expect(c.req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))
		events, err := plane.Writes(mark, "boss")
		Expect(err).NotTo(HaveOccurred())
		last := events[len(events)-1]
		Expect(last.ImpersonatedUser.Username).To(Equal("bob"))
		Expect(last.ObjectRef.Resource).To(Equal("accessdecisions"))
	})

	It("takes two names with one UID for one person, unless the policy says that it is shared", func(ctx SpecContext) {
		as := func(name, uid string, groups ...string) client.Client {
			config := rest.CopyConfig(plane.AdminConfig())
			config.Impersonate = rest.ImpersonationConfig{UserName: name, UID: uid, Groups: append(groups, "askers", "system:authenticated")}
			return clientOf(config)
		}
		c.change(ctx, func(s *v1alpha1.AccessPolicySpec) { s.Approvals[1].From = s.Approvals[0].From })
		c.req = c.ask(ctx, as("alice", "7"), builders.Request("same").In(c.ns).ForClusterRole("reader").Build())
		c.approve(ctx, as("Alice", "7", "leads"), "a")
		c.approve(ctx, as("bob", "8", "leads"), "b")
		c.approve(ctx, as("Bob", "8", "leads"), "c")
		c.h.settle(ctx, c.req)
		Expect(message(c.req)).To(HavePrefix(`waits for 1 of Group "leads"; approved by "bob" (policy `))
		c.change(ctx, func(s *v1alpha1.AccessPolicySpec) { s.UIDIsShared = true })
		c.h.settle(ctx, c.req)
		Expect(c.req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))
	})

	It("is not granted when an approval races a denial, 200 times", func(ctx SpecContext) {
		for i := range 200 {
			c.req = c.ask(ctx, c.alice, builders.Request(fmt.Sprint("race-", i)).In(c.ns).ForClusterRole("reader").Build())
			c.approve(ctx, c.bob, fmt.Sprint("a-", i))
			var both sync.WaitGroup
			both.Go(func() {
				defer GinkgoRecover()
				c.approve(ctx, c.dave, fmt.Sprint("b-", i))
			})
			both.Go(func() {
				defer GinkgoRecover()
				c.vote(ctx, c.carol, fmt.Sprint("no-", i), v1alpha1.VerdictDeny)
			})
			both.Wait()
			c.h.settle(ctx, c.req)
			Expect(c.req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonDenied))
			Expect(bindingOf(ctx, c.req)).To(BeNil())
		}
	}, SpecTimeout(2*time.Minute))
})

// told are the Events so far.
func told(h *harness) []string {
	var out []string
	for len(h.events.Events) > 0 {
		out = append(out, <-h.events.Events)
	}
	return out
}

var _ = Describe("Active access", func() {
	var c *court
	BeforeEach(func(ctx SpecContext) {
		c = newCourt(ctx)
		c.approve(ctx, c.bob, "a")
		c.approve(ctx, c.dave, "b")
		c.h.settle(ctx, c.req)
		Expect(c.req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))
	})

	ends := func(ctx SpecContext, as client.Client, verdict v1alpha1.Verdict, status metav1.ConditionStatus, reason, by, text string) {
		GinkgoHelper()
		d := builders.Decision("end", c.req, verdict)
		d.Spec.Comment = "enough"
		Expect(as.Create(ctx, d)).To(Succeed())
		c.h.settle(ctx, c.req)
		Expect(c.req).To(beReady(status, reason))
		Expect(c.req.Status.Grant.EndedBy).To(Equal(by))
		Expect(message(c.req)).To(Equal(text))
		Expect(told(c.h)).To(ContainElement(ContainSubstring(text)), "an Event says so too")
		Expect(c.req.Status.Approvals).To(HaveLen(2), "the record keeps who approved")
		expectAccess(ctx, c.alice, c.ns, false)
	}

	It("is revoked by an approver", func(ctx SpecContext) {
		ends(ctx, c.carol, v1alpha1.VerdictRevoke, metav1.ConditionFalse, v1alpha1.ReasonRevoked, "carol", `revoked by "carol": "enough"`)
	})
	It("is revoked by an approver who denies it too late", func(ctx SpecContext) {
		ends(ctx, c.bob, v1alpha1.VerdictDeny, metav1.ConditionFalse, v1alpha1.ReasonRevoked, "bob", `revoked by "bob": "enough"`)
	})
	It("is given back by the requester, and that is a good end", func(ctx SpecContext) {
		ends(ctx, c.alice, v1alpha1.VerdictRevoke, metav1.ConditionTrue, v1alpha1.ReasonReturned, "alice", `given back by "alice": "enough"`)
		Expect(c.req.Status.State).To(Equal(v1alpha1.StateReturned))
	})
	It("is not revoked by anybody else, nor by losing an approval", func(ctx SpecContext) {
		c.vote(ctx, c.eve, "end", v1alpha1.VerdictRevoke)
		Expect(c.bob.Delete(ctx, &v1alpha1.AccessDecision{ObjectMeta: metav1.ObjectMeta{Namespace: c.ns, Name: "a"}})).To(Succeed())
		c.h.settle(ctx, c.req)
		Expect(c.req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))
	})
})

var _ = Describe("Access that needed no approval", func() {
	It("is revoked by whoever may delete the request, and by nobody else", func(ctx SpecContext) {
		h, ns, alice := newHarness(), newNamespace(ctx), user("alice")
		mayDecide(ctx, ns)
		newPolicy(ctx, policyFor(ns))
		req := h.granted(ctx, alice, requestIn(ns))
		revokesAs(ctx, "owner", req)
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))

		Expect(admin.Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "owner"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "deciders"},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "owner"}},
		})).To(Succeed())
		Eventually(func(g Gomega) {
			h.settle(ctx, req)
			g.Expect(req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonRevoked))
		}).WithContext(ctx).Should(Succeed())
		Expect(req.Status.Grant.EndedBy).To(Equal("owner"))
	})

	It("is revoked by a revoker of the policy, who may not delete the request", func(ctx SpecContext) {
		h, ns, alice := newHarness(), newNamespace(ctx), user("alice")
		p := newPolicy(ctx, policyFor(ns))
		req := h.granted(ctx, alice, requestIn(ns))
		revokesAs(ctx, "officer", req)
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))

		p.Spec.Revokers = []v1alpha1.Subject{builders.User("officer")}
		Expect(admin.Update(ctx, p)).To(Succeed())
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonRevoked))
		Expect(req.Status.Grant.EndedBy).To(Equal("officer"))
		expectAccess(ctx, alice, ns, false)
	})
})

// revokesAs has somebody revoke who holds lapse-approver and nothing else.
func revokesAs(ctx SpecContext, name string, req *v1alpha1.AccessRequest) {
	GinkgoHelper()
	config, err := plane.User(name)
	Expect(err).NotTo(HaveOccurred())
	as := clientOf(config)
	Expect(admin.Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: req.Namespace, Name: "approver"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "lapse-approver"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: name}},
	})).To(Succeed())
	Eventually(func() error { return as.Create(ctx, builders.Decision("end", req, v1alpha1.VerdictRevoke)) }).WithContext(ctx).
		Should(Succeed())
}

var _ = Describe("The emergency shape", func() {
	It("gives a short time at once and a long one after approval", func(ctx SpecContext) {
		h, ns, alice := newHarness(), newNamespace(ctx), user("alice")
		newPolicy(ctx, builders.Policy("emergency-"+ns).Allowing("reader").In(ns).AtMost(15*time.Minute))
		newPolicy(ctx, builders.Policy("planned-"+ns).Allowing("reader").In(ns).AtMost(4*time.Hour).
			ApprovedBy(builders.Group("leads")).ApprovedBy(builders.Group("security")))
		short := h.granted(ctx, alice, builders.Request("now").In(ns).ForClusterRole("reader").Lasting(15*time.Minute).Build())
		Expect(short.Status.Policy.Name).To(Equal("emergency-" + ns))
		long := builders.Request("long").In(ns).ForClusterRole("reader").Lasting(15*time.Minute + time.Second).Build()
		Expect(alice.Create(ctx, long)).To(Succeed())
		h.settle(ctx, long)
		Expect(long).To(beReady(metav1.ConditionUnknown, v1alpha1.ReasonPendingApproval))
		Expect(long.Status.Policy.Name).To(Equal("planned-" + ns))
	})
})
