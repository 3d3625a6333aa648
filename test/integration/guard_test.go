// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/controllers/guarding"
	"github.com/lapse-dev/lapse/internal/admission"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

// Kinds of what config/admission and config/admission/stamps install.
var (
	policyKinds = []string{"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
	stampKinds  = []string{"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"}
)

// installed are Lapse's objects of these kinds on the API server.
func installed(ctx context.Context, kinds ...string) []unstructured.Unstructured {
	GinkgoHelper()
	out := make([]unstructured.Unstructured, 0, 32)
	for _, kind := range kinds {
		list := &unstructured.UnstructuredList{}
		list.SetAPIVersion("admissionregistration.k8s.io/v1")
		list.SetKind(kind + "List")
		Expect(admin.List(ctx, list, client.MatchingLabels{"app.kubernetes.io/part-of": "lapse"})).To(Succeed())
		Expect(list.Items).NotTo(BeEmpty(), kind)
		out = append(out, list.Items...)
	}
	return out
}

// weaken changes a policy or binding as somebody would who wants to get past it, and
// returns the field.
func weaken(obj *unstructured.Unstructured) string {
	GinkgoHelper()
	set := func(value any, fields ...string) {
		Expect(unstructured.SetNestedField(obj.Object, value, fields...)).To(Succeed())
	}
	switch obj.GetKind() {
	case "ValidatingAdmissionPolicyBinding":
		set([]any{"Audit"}, "spec", "validationActions")
		return "spec.validationActions"
	case "MutatingAdmissionPolicyBinding":
		set(map[string]any{"matchLabels": map[string]any{"stamp": "yes"}}, "spec", "matchResources", "namespaceSelector")
		return "spec.matchResources"
	default:
		set(map[string]any{"matchLabels": map[string]any{"guarded": "yes"}}, "spec", "matchConstraints", "objectSelector")
		return "spec.matchConstraints"
	}
}

// put gives an object on the API server the spec of another.
func put(ctx context.Context, want *unstructured.Unstructured) {
	GinkgoHelper()
	now := want.DeepCopy()
	Expect(admin.Get(ctx, client.ObjectKeyFromObject(want), now)).To(Succeed())
	now.Object["spec"] = want.DeepCopy().Object["spec"]
	Expect(admin.Update(ctx, now)).To(Succeed())
}

// recreate creates an object again that was deleted.
func recreate(ctx context.Context, was *unstructured.Unstructured) {
	GinkgoHelper()
	fresh := &unstructured.Unstructured{Object: map[string]any{"spec": was.DeepCopy().Object["spec"]}}
	fresh.SetGroupVersionKind(was.GroupVersionKind())
	fresh.SetName(was.GetName())
	fresh.SetLabels(was.GetLabels())
	Expect(admin.Create(ctx, fresh)).To(Succeed())
}

// The managers and the clock are real here, except that policies need not settle.
var _ = Describe("The guard of the admission policies", Ordered, func() {
	var (
		ns    string
		guard *guarding.Guard
		alice client.Client
		n     int
		// slowest is the longest that a change took to be noticed.
		slowest time.Duration
	)
	BeforeAll(func(ctx SpecContext) {
		ns, alice = newNamespace(ctx), user("alice")
		newPolicy(ctx, policyFor(ns))
		config, err := plane.ServiceAccountConfig(ctx, operator.Namespace, operator.ServiceAccount)
		Expect(err).NotTo(HaveOccurred())
		guard = startManager(ctx, config, clock.RealClock{}, 0)
		Eventually(func() error { return guard.Ready(nil) }).WithContext(ctx).Should(Succeed())
	})
	AfterAll(func() { AddReportEntry("slowest notice", slowest.String()) })

	// ask makes a request that the policy allows at once. It names the requester, as
	// one of the objects that go stamps him.
	ask := func(ctx context.Context, lasting time.Duration) *v1alpha1.AccessRequest {
		GinkgoHelper()
		n++
		req := builders.Request(fmt.Sprint("ask-", n)).In(ns).ForClusterRole("reader").Lasting(lasting).
			By("alice", "askers", "system:authenticated").To(builders.User("alice")).Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		return req
	}
	becomes := func(ctx context.Context, req *v1alpha1.AccessRequest, status metav1.ConditionStatus, reason string) {
		GinkgoHelper()
		Eventually(func(g Gomega) {
			g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(Succeed())
			g.Expect(req).To(beReady(status, reason))
		}).WithContext(ctx).WithPolling(10 * time.Millisecond).Should(Succeed())
	}
	// waitsMeanwhile asserts that the change is noticed, and nothing granted.
	waitsMeanwhile := func(ctx context.Context, what, reason string) *v1alpha1.AccessRequest {
		GinkgoHelper()
		begun := time.Now()
		Eventually(func() error { return guard.Ready(nil) }).WithContext(ctx).WithPolling(time.Millisecond).
			Should(MatchError(ContainSubstring(what)))
		slowest = max(slowest, time.Since(begun))
		req := ask(ctx, time.Minute)
		becomes(ctx, req, metav1.ConditionFalse, reason)
		Expect(message(req)).To(ContainSubstring(what))
		Expect(bindingOf(ctx, req)).To(BeNil())
		return req
	}
	grantsAgain := func(ctx context.Context) *v1alpha1.AccessRequest {
		GinkgoHelper()
		Eventually(func() error { return guard.Ready(nil) }).WithContext(ctx).Should(Succeed())
		var req *v1alpha1.AccessRequest
		Eventually(func(g Gomega) { // one that is made in the second in which the gap ends is refused
			req = ask(ctx, 10*time.Second)
			becomesAnything(ctx, g, req)
			g.Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))
		}).WithContext(ctx).Should(Succeed())
		return req
	}

	It("notices each object that is altered or deleted, refuses requests meanwhile, and lets access end on time", func(ctx SpecContext) {
		objects := installed(ctx, policyKinds...)
		for i := range objects {
			obj := &objects[i]
			held := grantsAgain(ctx)
			By("altering " + obj.GetKind() + " " + obj.GetName())
			weak := obj.DeepCopy()
			field := weaken(weak)
			put(ctx, weak)
			asked := waitsMeanwhile(ctx, fmt.Sprintf("%s %s is not what this version ships (%s)", obj.GetKind(), obj.GetName(), field),
				v1alpha1.ReasonAdmissionNotEnforced)
			put(ctx, obj)
			becomes(ctx, asked, metav1.ConditionFalse, v1alpha1.ReasonAdmissionGap)
			grantsAgain(ctx)

			By("deleting it")
			Expect(admin.Delete(ctx, obj.DeepCopy())).To(Succeed())
			waitsMeanwhile(ctx, obj.GetKind()+" "+obj.GetName()+" is missing", v1alpha1.ReasonAdmissionGap)
			if i == 0 {
				due := held.Status.Grant.ExpiresAt.Time
				becomes(ctx, held, metav1.ConditionTrue, v1alpha1.ReasonExpired)
				Expect(held.Status.Grant.EndedAt.Sub(due)).To(BeNumerically("<=", time.Second))
			}
			recreate(ctx, obj)
		}
		grantsAgain(ctx)

		By("altering, adding to and deleting some, and doing what it says is to be done")
		altered, added := objects[0].DeepCopy(), objects[1].DeepCopy()
		weaken(altered)
		put(ctx, altered)
		conditions := []any{map[string]any{"name": "some", "expression": "request.name != 'x'"}}
		Expect(unstructured.SetNestedSlice(added.Object, conditions, "spec", "matchConditions")).To(Succeed())
		put(ctx, added)
		Expect(admin.Delete(ctx, objects[2].DeepCopy())).To(Succeed())
		waitsMeanwhile(ctx, "spec.matchConditions", v1alpha1.ReasonAdmissionGap)
		doTheRemedy(ctx, guard)
		grantsAgain(ctx)
		Expect(slowest).To(BeNumerically("<", 60*time.Second))
	}, SpecTimeout(5*time.Minute))

	It("lets stamps be absent, come and go, and grants nothing while one is altered", aboutStamping, func(ctx SpecContext) {
		for _, stamp := range installed(ctx, stampKinds...) {
			grantsAgain(ctx)
			gaps := guard.Admission().Gaps
			By("deleting " + stamp.GetKind() + " " + stamp.GetName())
			Expect(admin.Delete(ctx, stamp.DeepCopy())).To(Succeed())
			req := ask(ctx, time.Minute)
			becomes(ctx, req, metav1.ConditionTrue, v1alpha1.ReasonGranted)
			recreate(ctx, &stamp)
			req = ask(ctx, time.Minute)
			becomes(ctx, req, metav1.ConditionTrue, v1alpha1.ReasonGranted)
			Expect(guard.Admission().Gaps).To(Equal(gaps))

			By("altering it")
			weak := stamp.DeepCopy()
			field := weaken(weak)
			put(ctx, weak)
			asked := waitsMeanwhile(ctx, fmt.Sprintf("%s %s is not what this version ships (%s)", stamp.GetKind(), stamp.GetName(), field),
				v1alpha1.ReasonAdmissionNotEnforced)
			doTheRemedy(ctx, guard)
			becomes(ctx, asked, metav1.ConditionFalse, v1alpha1.ReasonAdmissionGap)
		}
		grantsAgain(ctx)
	}, SpecTimeout(3*time.Minute))
})

// doTheRemedy runs the commands that the guard names, as an admin would.
func doTheRemedy(ctx context.Context, guard *guarding.Guard) {
	GinkgoHelper()
	_, commands, found := strings.Cut(guard.Admission().Remedy, "puts them back with: ")
	Expect(found).To(BeTrue(), guard.Admission().Remedy)
	root, err := operator.Root()
	Expect(err).NotTo(HaveOccurred())
	for command := range strings.SplitSeq(strings.ReplaceAll(commands, "config/", root+"/config/"), "; ") {
		_, stderr, err := plane.Kubectl(ctx, plane.AdminConfig(), strings.Fields(command)[1:]...)
		Expect(err).NotTo(HaveOccurred(), "%s: %s", command, stderr)
	}
}

// becomesAnything waits until the operator has said something.
func becomesAnything(ctx context.Context, g Gomega, req *v1alpha1.AccessRequest) {
	g.Eventually(func() (v1alpha1.RequestState, error) {
		err := admin.Get(ctx, client.ObjectKeyFromObject(req), req)
		return req.Status.State, err
	}).WithContext(ctx).WithPolling(10 * time.Millisecond).ShouldNot(BeEmpty())
}

var _ = Describe("A guard", func() {
	It("is not satisfied by a refusal of another kind", func(ctx SpecContext) {
		untried := rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "untried"}
		bindCluster(ctx, "untried", "lapse-manager", untried)
		config, err := plane.User("untried")
		Expect(err).NotTo(HaveOccurred())
		Expect(admin.DeleteAllOf(ctx, &coordinationv1.Lease{}, client.InNamespace(operator.Namespace))).To(Succeed())
		guard := startManager(ctx, config, clock.RealClock{}, 0)
		By("running as somebody who may not even read what is known of them")
		Eventually(func() error { return guard.Ready(nil) }).WithContext(ctx).
			Should(MatchError(And(ContainSubstring("reading what is known of the admission policies"), ContainSubstring(admission.NoteRemedy))))
		By("letting him do all that the operator may, but try")
		operator.Create(ctx, GinkgoTB(), admin, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: operator.Namespace, Name: "untried"}, Subjects: []rbacv1.Subject{untried},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "lapse-leader-election"},
		})
		Eventually(func() error { return guard.Ready(nil) }).WithContext(ctx).
			Should(MatchError(And(ContainSubstring("whether ValidatingAdmissionPolicy lapse-requester refuses false names could not be tried"),
				ContainSubstring("let ServiceAccount lapse-manager create requests and decisions in lapse-system with dryRun=All"))))
		Expect(guard.Admission()).To(HaveField("Enforced", false))
		Expect(guard.Admission().Gaps).To(ContainElement(HaveField("Cause", "what is known of the admission policies could not be read")),
			"nobody looked meanwhile")
	})

	It("keeps a request that was there before waiting, and grants it afterwards", func(ctx SpecContext) {
		h, ns, alice := newHarness(), newNamespace(ctx), user("alice")
		newPolicy(ctx, policyFor(ns))
		h.admission = admission.State{Problem: "ValidatingAdmissionPolicy lapse-requester is missing", Remedy: "put it back"}
		req := requestIn(ns)
		Expect(alice.Create(ctx, req)).To(Succeed())
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonAdmissionNotEnforced))
		Expect(req).To(haveCondition(v1alpha1.ConditionReconciling, metav1.ConditionTrue, v1alpha1.ReasonAdmissionNotEnforced))
		Expect(message(req)).To(Equal("nothing is granted until it is certain that the admission policies are in force: " +
			"ValidatingAdmissionPolicy lapse-requester is missing; put it back"))
		h.admission = admission.State{Enforced: true}
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))
	})
})
