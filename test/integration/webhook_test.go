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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

// answerNothing has a webhook swallow the deletions of RoleBindings in a namespace; they
// pass when it has not answered for so long.
func answerNothing(ctx context.Context, c client.Client, namespace string, timeout time.Duration) {
	GinkgoHelper()
	deletions := operator.Foreign{
		Namespace: namespace, Group: rbacv1.GroupName, Resource: "rolebindings",
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Delete},
	}
	remove, err := deletions.Swallow(ctx, c, timeout)
	DeferCleanup(func(ctx SpecContext) { Expect(remove(ctx)).To(Succeed()) }, NodeTimeout(20*time.Second))
	Expect(err).NotTo(HaveOccurred())
	probe := managed(namespace, "lapse-probe-00000000", time.Now().Add(time.Hour))
	Expect(c.Create(ctx, probe)).To(Succeed())
	Eventually(func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		defer cancel()
		return c.Delete(ctx, probe, client.DryRunAll)
	}, "20s", "100ms").WithContext(ctx).Should(MatchError(context.DeadlineExceeded))
	Expect(c.Delete(ctx, probe)).To(Succeed())
}

// Whoever runs such a webhook is trusted with what requests and decisions say, but not with
// who says it.
var _ = Describe("A mutating webhook of somebody else", func() {
	// puts has the webhook put a value into each object that is created in a namespace.
	puts := func(ctx context.Context, ns, resource, path string, value any) {
		GinkgoHelper()
		creations := operator.Foreign{
			Namespace: ns, Group: v1alpha1.GroupVersion.Group, Resource: resource,
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
		}
		remove, err := creations.Put(ctx, admin, path, value)
		DeferCleanup(func(ctx SpecContext) { Expect(remove(ctx)).To(Succeed()) })
		Expect(err).NotTo(HaveOccurred())
	}
	// refused waits until the webhook alters what somebody writes, and expects that to be
	// refused for it, and not stored.
	refused := func(ctx context.Context, as client.Client, obj client.Object, says string) {
		GinkgoHelper()
		create := func(opts ...client.CreateOption) error {
			return as.Create(ctx, obj.DeepCopyObject().(client.Object), opts...)
		}
		Eventually(func() error { return create(client.DryRunAll) }).WithContext(ctx).Should(MatchError(ContainSubstring(says)))
		Expect(create()).To(MatchError(ContainSubstring(says)))
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(obj), obj)).To(MatchError(apierrors.IsNotFound, "not found"))
	}

	DescribeTable("cannot say that somebody else asks",
		func(ctx SpecContext, requester v1alpha1.Identity, says string) {
			ns := newNamespace(ctx)
			puts(ctx, ns, "accessrequests", "/spec/requester", requester)
			// With notAfter, the schema has nothing against a subject who is not the requester.
			req := builders.Request("altered").In(ns).ForClusterRole("reader").NotAfter(soon()).Build()
			refused(ctx, user("alice"), req, says)
		},
		Entry("by another name", v1alpha1.Identity{Username: "bob", Groups: []string{"askers", "system:authenticated"}},
			`spec.requester must be left out or name you ("alice"), not "bob"`),
		Entry("by a group more", v1alpha1.Identity{Username: "alice", Groups: []string{"leads", "askers", "system:authenticated"}},
			`spec.requester must be left out or be exactly you: your groups are "askers"`),
		Entry("by a group less", v1alpha1.Identity{Username: "alice", Groups: []string{"system:authenticated"}},
			`spec.requester must be left out or be exactly you: your groups are "askers"`),
		Entry("by a uid", v1alpha1.Identity{Username: "alice", UID: "7", Groups: []string{"askers", "system:authenticated"}},
			`spec.requester must be left out or be exactly you: your uid is "", not "7"`),
	)

	DescribeTable("cannot say that somebody else decides",
		func(ctx SpecContext, reviewer v1alpha1.Identity, says string) {
			c := newCourt(ctx)
			puts(ctx, c.ns, "accessdecisions", "/spec/reviewer", reviewer)
			refused(ctx, c.eve, builders.Decision("altered", c.req, v1alpha1.VerdictApprove), says)
		},
		Entry("by another name", v1alpha1.Identity{Username: "bob", Groups: []string{"leads", "askers", "system:authenticated"}},
			`spec.reviewer must be left out or name you ("eve"), not "bob"`),
		Entry("by a group more", v1alpha1.Identity{Username: "eve", Groups: []string{"leads", "askers", "system:authenticated"}},
			`spec.reviewer must be left out or be exactly you: your groups are "askers"`),
		Entry("by a uid", v1alpha1.Identity{Username: "eve", UID: "7", Groups: []string{"askers", "system:authenticated"}},
			`spec.reviewer must be left out or be exactly you: your uid is "", not "7"`),
	)

	It("cannot turn what somebody asks for himself into access of another", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		puts(ctx, ns, "accessrequests", "/spec/subject", builders.User("eve"))
		refused(ctx, user("alice"), requestIn(ns), "notAfter is required when the subject is not the requester")
	})

	// Admission does not prove for whom somebody asks: a policy has to list that one.
	It("cannot give access to somebody whom no policy lists", func(ctx SpecContext) {
		h, ns, alice := newHarness(), newNamespace(ctx), user("alice")
		newPolicy(ctx, policyFor(ns).To(builders.User("bob")))
		puts(ctx, ns, "accessrequests", "/spec/subject", builders.User("eve"))
		req := builders.Request("altered").In(ns).ForClusterRole("reader").NotAfter(soon()).Build()
		Eventually(func(g Gomega) {
			tried := req.DeepCopy()
			g.Expect(alice.Create(ctx, tried, client.DryRunAll)).To(Succeed())
			g.Expect(*tried.Spec.Subject).To(Equal(builders.User("eve")))
		}).WithContext(ctx).Should(Succeed())
		Expect(alice.Create(ctx, req)).To(Succeed())
		Expect(req.Spec.Requester.Username).To(Equal("alice"))
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonDenied))
		Expect(message(req)).To(And(ContainSubstring(`"eve"`), ContainSubstring("is neither the requester nor among its grantees")))
		Expect(bindingOf(ctx, req)).To(BeNil())
	})
})
