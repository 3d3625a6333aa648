// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

const (
	// mostLate is what docs/operations.md allows while nothing leads.
	mostLate = 3 * time.Second
	// mostLateAfterDeath is for a node that is back: kubelet, sandboxes and replicas start.
	mostLateAfterDeath = time.Minute
	// grants end one after the other, a second apart, for longer than it takes to replace
	// two replicas.
	grants = 100
	// firstAfter is time enough to make them, on a busy machine.
	firstAfter = time.Minute
)

// ends are those of grants of alice.
type ends struct {
	first time.Time
	seen  chan end
}

// end is when one was due, and when it came.
type end struct{ due, came time.Time }

// hold gives alice grants that end soon, and hears of their ends.
func hold(ctx context.Context, name string) *ends {
	GinkgoHelper()
	return holdFor(ctx, name, firstAfter)
}

// holdFor gives alice grants of which the first ends after that long.
func holdFor(ctx context.Context, name string, after time.Duration) *ends {
	GinkgoHelper()
	e := &ends{seen: make(chan end, grants)}
	e.watch(ctx, name)
	e.first = time.Now().Add(after).Truncate(time.Second)
	var group errgroup.Group
	group.SetLimit(8)
	for i := range grants {
		b := builders.Request(fmt.Sprintf("%s-%02d", name, i)).Lasting(time.Hour).NotAfter(e.first.Add(time.Duration(i) * time.Second))
		group.Go(func() error { return alice.Create(ctx, request(b)) })
	}
	Expect(group.Wait()).To(Succeed())
	Eventually(func() int { return held(ctx, name) }).WithContext(ctx).WithTimeout(time.Until(e.first)).
		Should(Equal(grants), "all have to be there before one ends")
	return e
}

// watch sees each binding go.
func (e *ends) watch(ctx context.Context, name string) {
	GinkgoHelper()
	watcher, err := client.NewWithWatch(plane.AdminConfig(), client.Options{Scheme: operator.Scheme()})
	Expect(err).NotTo(HaveOccurred())
	w, err := watcher.Watch(ctx, &rbacv1.RoleBindingList{}, client.InNamespace(namespace))
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(w.Stop)
	go func() {
		for event := range w.ResultChan() {
			b, ok := event.Object.(*rbacv1.RoleBinding)
			if !ok || event.Type != watch.Deleted || !of(b, name) {
				continue
			}
			if g, ok := binding.Of(b); ok {
				e.seen <- end{due: g.ExpiresAt.Time, came: time.Now()}
			}
		}
	}()
}

// due waits until some are, and some more.
func (e *ends) due(ctx context.Context, more time.Duration) {
	GinkgoHelper()
	Eventually(time.Now).WithContext(ctx).Should(BeTemporally(">", e.first.Add(more)))
}

// come waits for all of them, which have to come soon after they were due, or after since if
// that is later.
func (e *ends) come(ctx context.Context, soon time.Duration, since time.Time) {
	GinkgoHelper()
	earliest, latest, most := time.Hour, -time.Hour, -time.Hour
	for range grants {
		var one end
		Eventually(e.seen).WithContext(ctx).Should(Receive(&one))
		late := one.came.Sub(one.due)
		earliest, latest = min(earliest, late), max(latest, late)
		most = max(most, min(late, one.came.Sub(since)))
	}
	AddReportEntry("lateness", fmt.Sprintf("%d grants: between %s and %s after their end, at most %s of that after %s",
		grants, earliest, latest, most, since.Format(time.TimeOnly)))
	Expect(earliest).To(BeNumerically(">=", 0), "early")
	Expect(most).To(BeNumerically("<=", soon), "late")
}

// over waits for all of them, which have to come soon after somebody ended all access, and
// before they were due.
func (e *ends) over(ctx context.Context, begun time.Time, soon time.Duration) {
	GinkgoHelper()
	var last time.Duration
	for range grants {
		var one end
		Eventually(e.seen).WithContext(ctx).Should(Receive(&one))
		Expect(one.came).To(BeTemporally("<", one.due), "it ended by itself")
		last = max(last, one.came.Sub(begun))
	}
	AddReportEntry("lateness", fmt.Sprintf("%d grants: the last ended %s after the command was typed", grants, last))
	Expect(last).To(BeNumerically("<=", soon), "late")
}

// of says whether a binding is for a request of such a name.
func of(b *rbacv1.RoleBinding, name string) bool {
	return strings.HasPrefix(b.Annotations[v1alpha1.RequestAnnotation], name+"-")
}

// held counts the bindings for requests of such a name.
func held(ctx context.Context, name string) int {
	GinkgoHelper()
	list := &rbacv1.RoleBindingList{}
	Expect(admin.List(ctx, list, client.InNamespace(namespace), client.MatchingLabels{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy})).
		To(Succeed())
	n := 0
	for i := range list.Items {
		if of(&list.Items[i], name) {
			n++
		}
	}
	return n
}

// leaderFirst are the replicas: the one that grants, and the other.
func leaderFirst(ctx context.Context) (leader, other *corev1.Pod) {
	GinkgoHelper()
	lease := &coordinationv1.Lease{}
	Expect(admin.Get(ctx, client.ObjectKey{Namespace: operator.Namespace, Name: "lapse.lapse.dev"}, lease)).To(Succeed())
	Expect(lease.Spec.HolderIdentity).NotTo(BeNil())
	running := managers(ctx)
	Expect(running).To(HaveLen(replicas))
	if strings.HasPrefix(*lease.Spec.HolderIdentity, running[1].Name+"_") {
		return &running[1], &running[0]
	}
	return &running[0], &running[1]
}

// evict does what kubectl drain does to a Pod.
func evict(ctx context.Context, pod *corev1.Pod) error {
	eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
	return admin.SubResource("eviction").Create(ctx, pod, eviction)
}

// gone waits until a Pod has ended.
func gone(ctx context.Context, pod *corev1.Pod) {
	GinkgoHelper()
	Eventually(func() bool {
		return apierrors.IsNotFound(admin.Get(ctx, client.ObjectKeyFromObject(pod), &corev1.Pod{}))
	}).WithContext(ctx).Should(BeTrue())
}

// newReplicas notes which there are, and returns what demands that none of them is left.
func newReplicas(ctx context.Context) (mustBeNew func(context.Context)) {
	GinkgoHelper()
	before := map[string]bool{}
	for _, pod := range managers(ctx) {
		before[pod.Name] = true
	}
	return func(ctx context.Context) {
		GinkgoHelper()
		for _, pod := range managers(ctx) {
			Expect(before).NotTo(HaveKey(pod.Name), "it is an old one")
		}
	}
}

var _ = Describe("Access", func() {
	BeforeEach(func(ctx SpecContext) { ready(ctx) }, NodeTimeout(2*time.Minute))

	It("ends on time, and is granted, while all replicas are replaced", func(ctx SpecContext) {
		mustBeNew := newReplicas(ctx)
		ends := hold(ctx, "updated")
		ends.due(ctx, 0)
		begun := time.Now()
		kubectl(ctx, "rollout", "restart", "deployment/lapse-manager", "-n", operator.Namespace)
		grant(ctx, builders.Request("meanwhile"))
		ready(ctx)
		AddReportEntry("all replaced", time.Since(begun).Round(time.Second))
		mustBeNew(ctx)
		ends.come(ctx, mostLate, ends.first)
		becomes(ctx, grant(ctx, builders.Request("after-the-update").Lasting(10*time.Second)), v1alpha1.ReasonExpired)
	}, SpecTimeout(6*time.Minute))

	It("ends on time while its node is drained, which leaves one replica at work, and after it", func(ctx SpecContext) {
		leader, other := leaderFirst(ctx)
		ends := hold(ctx, "drained")
		DeferCleanup(func(ctx SpecContext) { kubectl(ctx, "uncordon", nodeName) }, NodeTimeout(time.Minute))
		kubectl(ctx, "cordon", nodeName)
		// The controller of budgets may not have counted the replicas yet.
		Eventually(func() error { return evict(ctx, leader) }).WithContext(ctx).Should(Succeed())
		// There is no other node: while the one that follows waits, the last stays.
		err := evict(ctx, other)
		Expect(apierrors.IsTooManyRequests(err)).To(BeTrue(), "the answer is %v", err)
		gone(ctx, leader)
		ends.due(ctx, 10*time.Second)
		Expect(evict(ctx, other)).NotTo(Succeed())

		kubectl(ctx, "uncordon", nodeName)
		ready(ctx)
		Eventually(func() error { return evict(ctx, other) }).WithContext(ctx).Should(Succeed())
		gone(ctx, other)
		ready(ctx)
		ends.come(ctx, mostLate, ends.first)
		becomes(ctx, grant(ctx, builders.Request("after-the-drain").Lasting(10*time.Second)), v1alpha1.ReasonExpired)
	}, SpecTimeout(6*time.Minute))

	It("ends within a minute of the return of a node that died with all replicas", func(ctx SpecContext) {
		ends := hold(ctx, "dead")
		DeferCleanup(func(ctx SpecContext) error { return host.Revive(ctx) }, NodeTimeout(2*time.Minute))
		Expect(host.Die()).To(Succeed())
		left := held(ctx, "dead")
		ends.due(ctx, 15*time.Second)
		Expect(held(ctx, "dead")).To(And(BeNumerically(">", 0), Equal(left)), "something still ends access")

		back := time.Now()
		Expect(host.Revive(ctx)).To(Succeed())
		ends.come(ctx, mostLateAfterDeath, back)
		becomes(ctx, grant(ctx, builders.Request("after-the-death").Lasting(10*time.Second)), v1alpha1.ReasonExpired)
		ready(ctx)
	}, SpecTimeout(6*time.Minute))
})
