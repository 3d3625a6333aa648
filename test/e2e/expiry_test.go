// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

var _ = Describe("The end of access", func() {
	var ns string
	BeforeEach(func(ctx SpecContext) {
		ns = newNamespace(ctx)
		newPolicy(ctx, builders.Policy("p-"+ns).Allowing("reader").In(ns))
	})

	It("is within 2 s for 200 grants that end in the same second, and never early", func(ctx SpecContext) {
		const grants, tolerance = 200, 2 * time.Second
		startManager(ctx)
		end := time.Now().Add(45 * time.Second).Truncate(time.Second)
		ended := watchEnds(ctx, ns)
		askMany(ctx, alice, grants, func(i int) builders.RequestBuilder {
			return builders.Request(fmt.Sprintf("many-%03d", i)).In(ns).ForClusterRole("reader").Lasting(time.Hour).NotAfter(end)
		})
		Eventually(func() int { return len(bindings(ctx, ns)) }, time.Until(end), 200*time.Millisecond).WithContext(ctx).Should(Equal(grants))
		Expect(time.Now()).To(BeTemporally("<", end), "the grants must all be there before any ends")

		var earliest, latest time.Duration
		for i := range grants {
			var late time.Duration
			Eventually(ended, time.Until(end)+20*time.Second).WithContext(ctx).Should(Receive(&late))
			if i == 0 || late < earliest {
				earliest = late
			}
			latest = max(latest, late)
		}
		GinkgoWriter.Printf("%d grants ended between %s and %s after their deadline\n", grants, earliest, latest)
		AddReportEntry("lateness", fmt.Sprintf("%d grants: first %s, last %s after the deadline", grants, earliest, latest))
		Expect(earliest).To(BeNumerically(">=", 0), "early")
		Expect(latest).To(BeNumerically("<=", tolerance), "late")
	}, SpecTimeout(2*time.Minute))

	It("comes within 5 s of being ready when the manager was killed before it, and access never again", func(ctx SpecContext) {
		m := startManager(ctx)
		req := builders.Request("killed").In(ns).ForClusterRole("reader").Lasting(10 * time.Second).Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		eventually(ctx, req, v1alpha1.ReasonGranted)
		Expect(m.Kill()).To(Succeed())
		Eventually(func() bool { return time.Now().After(req.Status.Grant.ExpiresAt.Time) }).WithContext(ctx).Should(BeTrue())
		Expect(bindings(ctx, ns)).To(HaveLen(1), "nobody is there to end it")

		startManager(ctx)
		ready := time.Now()
		Eventually(func() int { return len(bindings(ctx, ns)) }).WithContext(ctx).Should(BeZero())
		Expect(time.Since(ready)).To(BeNumerically("<", 5*time.Second))
		eventually(ctx, req, v1alpha1.ReasonExpired)
		Consistently(func() int { return len(bindings(ctx, ns)) }, "3s").WithContext(ctx).Should(BeZero())
	}, SpecTimeout(time.Minute))

	It("comes at most 3 s late from a standby when the leader is killed just before it", func(ctx SpecContext) {
		leader := startManager(ctx, "--leader-elect")
		startManager(ctx, "--leader-elect")
		req := builders.Request("standby").In(ns).ForClusterRole("reader").Lasting(10 * time.Second).Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		eventually(ctx, req, v1alpha1.ReasonGranted)
		deadline := req.Status.Grant.ExpiresAt.Time
		Eventually(func() bool { return time.Now().After(deadline.Add(-time.Second)) }).WithContext(ctx).Should(BeTrue())
		Expect(leader.Kill()).To(Succeed())
		ended := watchEnds(ctx, ns)
		Expect(bindings(ctx, ns)).To(HaveLen(1))
		var late time.Duration
		Eventually(ended).WithContext(ctx).Should(Receive(&late))
		AddReportEntry("lateness", fmt.Sprintf("leader killed: %s after the deadline", late))
		Expect(late).To(BeNumerically("~", 1500*time.Millisecond, 1500*time.Millisecond))
		// A new leader is elected when the lease has run out.
		Eventually(func(g Gomega) {
			g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(Succeed())
			g.Expect(req).To(haveReason(v1alpha1.ReasonExpired))
		}, 30*time.Second).WithContext(ctx).Should(Succeed())
	}, SpecTimeout(2*time.Minute))

	It("comes although policies cannot be watched, and granting resumes when they can", func(ctx SpecContext) {
		m := startManager(ctx)
		req := builders.Request("blind").In(ns).ForClusterRole("reader").Lasting(10 * time.Second).Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		eventually(ctx, req, v1alpha1.ReasonGranted)
		Expect(m.Kill()).To(Succeed())
		restore := withoutRule(ctx, "accesspolicies")

		blind, err := operator.Launch(ctx, plane, GinkgoWriter)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func() error { return blind.Stop() })
		subjects := func() int {
			n := 0
			for _, b := range bindings(ctx, ns) {
				n += len(b.Subjects)
			}
			return n
		}
		Expect(subjects()).To(Equal(1))
		other, err := operator.Launch(ctx, plane, GinkgoWriter)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func() error { return other.Stop() })
		Eventually(subjects, 15*time.Second).WithContext(ctx).Should(BeZero())
		Expect(time.Now()).To(BeTemporally("<", req.Status.Grant.ExpiresAt.Add(3*time.Second)), "as a standby does it")
		begun := time.Now()
		Expect(other.Stop()).To(Succeed(), "it stops when it is told to")
		Expect(time.Since(begun)).To(BeNumerically("<", 10*time.Second))

		restore(ctx)
		Expect(blind.WaitReady(ctx)).To(Succeed())
		eventually(ctx, req, v1alpha1.ReasonExpired)
	}, SpecTimeout(2*time.Minute))

	It("comes by garbage collection when the request is deleted while the manager is down", func(ctx SpecContext) {
		m := startManager(ctx)
		req := builders.Request("collected").In(ns).ForClusterRole("reader").Lasting(time.Hour).Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		eventually(ctx, req, v1alpha1.ReasonGranted)
		Expect(m.Kill()).To(Succeed())
		Expect(admin.Delete(ctx, req)).To(Succeed())
		// The garbage collector learns of new kinds every 30 s.
		Eventually(func() int { return len(bindings(ctx, ns)) }, time.Minute).WithContext(ctx).Should(BeZero())
	}, SpecTimeout(90*time.Second))

	It("comes at once when the request or its policy is deleted, and soon when its namespace is", func(ctx SpecContext) {
		startManager(ctx)
		gone := func(ns string, within time.Duration, end func()) {
			GinkgoHelper()
			req := builders.Request("ended").In(ns).ForClusterRole("reader").Lasting(time.Hour).Build()
			Expect(alice.Create(ctx, req)).To(Succeed())
			eventually(ctx, req, v1alpha1.ReasonGranted)
			end()
			Eventually(func() int { return len(bindings(ctx, ns)) }, within).WithContext(ctx).Should(BeZero())
			Expect(client.IgnoreNotFound(admin.Delete(ctx, req))).To(Succeed())
		}
		gone(ns, 2*time.Second, func() {
			Expect(admin.DeleteAllOf(ctx, &v1alpha1.AccessRequest{}, client.InNamespace(ns))).To(Succeed())
		})
		gone(ns, 2*time.Second, func() {
			p := builders.Policy("p-" + ns).Build()
			Expect(admin.Delete(ctx, p)).To(Succeed())
		})
		other := newNamespace(ctx)
		newPolicy(ctx, builders.Policy("p-"+other).Allowing("reader").In(other))
		// The namespace controller deletes one kind after the other.
		gone(other, 20*time.Second, func() { Expect(admin.Delete(ctx, builders.Namespace(other))).To(Succeed()) })
	}, SpecTimeout(time.Minute))
})

// watchEnds tells how long after its deadline each binding in a namespace is deleted.
func watchEnds(ctx context.Context, namespace string) <-chan time.Duration {
	GinkgoHelper()
	watcher, err := client.NewWithWatch(plane.AdminConfig(), client.Options{Scheme: operator.Scheme()})
	Expect(err).NotTo(HaveOccurred())
	w, err := watcher.Watch(ctx, &rbacv1.RoleBindingList{}, client.InNamespace(namespace))
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(w.Stop)
	out := make(chan time.Duration, 1000)
	go func() {
		for e := range w.ResultChan() {
			if b, ok := e.Object.(*rbacv1.RoleBinding); ok && e.Type == watch.Deleted {
				grant, _ := binding.Of(b)
				out <- time.Since(grant.ExpiresAt.Time)
			}
		}
	}()
	return out
}

// withoutRule takes what concerns a resource out of the operator's ClusterRole, and
// returns what puts it back.
func withoutRule(ctx context.Context, resource string) (restore func(context.Context)) {
	GinkgoHelper()
	role := &rbacv1.ClusterRole{}
	Expect(admin.Get(ctx, client.ObjectKey{Name: "lapse-manager"}, role)).To(Succeed())
	before := role.DeepCopy()
	role.Rules = slices.DeleteFunc(role.Rules, func(r rbacv1.PolicyRule) bool { return slices.Contains(r.Resources, resource) })
	Expect(len(role.Rules)).To(BeNumerically("<", len(before.Rules)))
	Expect(admin.Update(ctx, role)).To(Succeed())
	restore = func(ctx context.Context) {
		GinkgoHelper()
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(role), role)).To(Succeed())
		role.Rules = before.Rules
		Expect(admin.Update(ctx, role)).To(Succeed())
	}
	DeferCleanup(func(ctx SpecContext) { restore(ctx) })
	return restore
}
