// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

// These compare the operator with bare calls on the same API server, in the same run:
// ratios are the result. No proxy is in between.
var _ = Describe("Next to bare calls", Serial, whole, func() {
	It("a single end is as fast as twice a deletion and 20 ms, as the authorizer sees it, and never early", func(ctx SpecContext) {
		startDirect(ctx)
		rounds := sized(100, 5)
		s := newScene(ctx, time.Second, false)
		plain := newNamespace(ctx)
		namespaces := widen(ctx, s, rounds)
		first := time.Now().Add(setup(rounds) + 5*time.Second).Truncate(time.Second)
		each(rounds, func(i int) {
			ask(ctx, s.request("a").In(namespaces[i]).NotAfter(first.Add(time.Duration(i)*time.Second)))
		})
		late, deletion := make([]time.Duration, rounds), make([]time.Duration, rounds)
		for i := range rounds {
			end := first.Add(time.Duration(i) * time.Second)
			until(ctx, end.Add(-200*time.Millisecond))
			Expect(allowed(ctx, namespaces[i])).To(BeTrue(), "it is held until its end")
			late[i] = firstNo(ctx, namespaces[i]).Sub(end)
			deletion[i] = deleteBare(ctx, plain, fmt.Sprintf("plain-%d", i))
		}
		slices.Sort(late)
		slices.Sort(deletion)
		p99, bare := quantile(late, 0.99), quantile(deletion, 0.99)
		report(row{
			sweep: "single end, by SubjectAccessReview", runs: rounds, late: late, bound: 2*bare + 20*time.Millisecond,
			note: fmt.Sprintf("p99 %s; a deletion: p50 %s, p99 %s", ms(p99), ms(quantile(deletion, 0.5)), ms(bare)),
		})
		Expect(late[0]).To(BeNumerically(">=", 0), "early")
		Expect(p99).To(BeNumerically("<=", 2*bare+20*time.Millisecond))
	}, SpecTimeout(5*time.Minute))

	It("many that end in one second are drained at 0.75 of the rate of bare deletions, and a restart before that writes nothing",
		func(ctx SpecContext) {
			n := sized(10000, 300)
			s := newScene(ctx, time.Minute, false)
			namespaces := widen(ctx, s, 20)
			before := drainBare(ctx, namespaces, n)

			m := startDirect(ctx)
			end := time.Now().Add(time.Duration(n)*sized(30*time.Millisecond, 15*time.Millisecond) + 15*time.Second).Truncate(time.Second)
			each(n, func(i int) {
				ask(ctx, s.request(fmt.Sprintf("a-%05d", i)).In(namespaces[i%len(namespaces)]).NotAfter(end))
			})
			s.active(ctx, n)
			m, writes := restart(ctx, m)
			Expect(writes).To(BeEmpty())
			Expect(time.Now()).To(BeTemporally("<", end.Add(-time.Second)), "all of this has to come before the end")

			mark := auditMark()
			until(ctx, end)
			noneLeft(ctx, namespaces)
			s.active(ctx, 0)
			gone, last := deletions(mark)
			Expect(gone).To(Equal(n))
			rate := float64(n) / last.Sub(end).Seconds()
			Expect(m.Stop()).To(Succeed())
			after := drainBare(ctx, namespaces, n)
			// What disturbs one of the bare loops must not flatter the operator.
			ratio := rate / max(before, after)
			report(row{sweep: "the same second", runs: n, note: fmt.Sprintf(
				"%.0f/s; bare %.0f and %.0f/s; ratio %.2f; restart with %d active: 0 writes", rate, before, after, ratio, n)})
			if full { // a few hundred are over before a rate can be told
				Expect(ratio).To(BeNumerically(">=", 0.75))
			}
		}, SpecTimeout(20*time.Minute))

	It("a steady state is no write at all besides the lease", func(ctx SpecContext) {
		n, idle := sized(1000, 50), sized(10*time.Minute, 5*time.Second)
		startDirect(ctx, "--leader-elect")
		s := newScene(ctx, time.Minute, false)
		each(n, func(i int) { ask(ctx, s.request(fmt.Sprintf("a-%04d", i))) })
		s.active(ctx, n)
		// Events of the grants may still be on their way.
		until(ctx, time.Now().Add(2*time.Second))
		mark := auditMark()
		until(ctx, time.Now().Add(idle))
		Expect(operatorWrites(mark)).To(BeEmpty())
		report(row{sweep: "steady state of " + idle.String(), runs: n, note: "0 writes besides the lease"})
	}, SpecTimeout(15*time.Minute))
})

// startDirect runs a manager that has nothing between it and the API server.
func startDirect(ctx context.Context, args ...string) *operator.Manager {
	GinkgoHelper()
	return operator.NewManager(ctx, GinkgoTB(), plane, GinkgoWriter, args...)
}

// widen makes more namespaces that the policy of the scene covers.
func widen(ctx context.Context, s *scene, n int) []string {
	GinkgoHelper()
	for range n {
		s.others = append(s.others, newNamespace(ctx))
	}
	p := &v1alpha1.AccessPolicy{}
	Expect(admin.Get(ctx, client.ObjectKey{Name: "p-" + s.ns}, p)).To(Succeed())
	before := p.DeepCopy()
	p.Spec.Namespaces.Names = s.namespaces()
	Expect(admin.Patch(ctx, p, client.MergeFrom(before))).To(Succeed())
	return s.others
}

// allowed asks the API server's authorizer whether alice has access.
func allowed(ctx context.Context, ns string) bool {
	GinkgoHelper()
	may, err := operator.Allowed(ctx, admin, "alice", "get", "configmaps", ns)
	Expect(err).NotTo(HaveOccurred())
	return may
}

// firstNo is when the authorizer first said no.
func firstNo(ctx context.Context, ns string) time.Time {
	GinkgoHelper()
	var at time.Time
	Eventually(func() bool {
		no := !allowed(ctx, ns)
		at = time.Now()
		return no
	}, 10*time.Second, time.Millisecond).WithContext(ctx).Should(BeTrue())
	return at
}

// deleteBare binds plainly, and measures from the deletion to the authorizer's no.
func deleteBare(ctx context.Context, ns, name string) time.Duration {
	GinkgoHelper()
	b := bareBinding(ns, name)
	Expect(admin.Create(ctx, b)).To(Succeed())
	Eventually(func() bool { return allowed(ctx, ns) }, 10*time.Second, time.Millisecond).WithContext(ctx).Should(BeTrue())
	begun := time.Now()
	Expect(asOperator.Delete(ctx, b)).To(Succeed())
	return firstNo(ctx, ns).Sub(begun)
}

// bareBinding has nothing of a managed one but its size.
func bareBinding(ns, name string) *rbacv1.RoleBinding {
	req := builders.Request(name).In(ns).Build()
	req.UID = "00000000-1111-2222-3333-444455556666"
	b := bindingFor(req, time.Hour)
	b.Name, b.Labels, b.OwnerReferences = name, map[string]string{"plain": "true"}, nil
	return b
}

// deletions are how many RoleBindings were deleted since a mark, and when the last was,
// by the API server's audit log.
func deletions(since controlplane.AuditMark) (n int, last time.Time) {
	GinkgoHelper()
	events, err := plane.AuditedWrites(since)
	Expect(err).NotTo(HaveOccurred())
	for _, e := range events {
		if e.Verb == "delete" && e.ObjectRef.Resource == "rolebindings" && e.ResponseStatus.Code < 300 {
			n++
			if e.StageTimestamp.After(last) {
				last = e.StageTimestamp.Time
			}
		}
	}
	return n, last
}

func auditMark() controlplane.AuditMark {
	GinkgoHelper()
	mark, err := plane.AuditMark()
	Expect(err).NotTo(HaveOccurred())
	return mark
}

// drainBare deletes as many of the same bindings in a bare loop with as many workers as
// the operator has, and returns how many went each second. No operator runs meanwhile.
func drainBare(ctx context.Context, namespaces []string, n int) float64 {
	GinkgoHelper()
	all := make([]*rbacv1.RoleBinding, n)
	each(n, func(i int) {
		req := ask(ctx,
			builders.Request(fmt.Sprintf("bare-%05d", i)).In(namespaces[i%len(namespaces)]).ForClusterRole("reader").Lasting(time.Hour))
		all[i] = bindingFor(req, time.Hour)
		create(ctx, all[i])
	})
	mark, begun := auditMark(), time.Now()
	each(n, func(i int) {
		Expect(asOperator.Delete(ctx, all[i], client.Preconditions{UID: &all[i].UID})).To(Succeed())
	})
	gone, last := deletions(mark)
	Expect(gone).To(Equal(n))
	for _, ns := range namespaces { // or they would be granted
		Expect(admin.DeleteAllOf(ctx, &v1alpha1.AccessRequest{}, client.InNamespace(ns))).To(Succeed())
	}
	return float64(n) / last.Sub(begun).Seconds()
}

// noneLeft waits until no managed binding is left in the namespaces, with as little work
// for the API server as can be.
func noneLeft(ctx context.Context, namespaces []string) {
	GinkgoHelper()
	list := &metav1.PartialObjectMetadataList{
		TypeMeta: metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "RoleBindingList"},
	}
	for _, ns := range namespaces {
		Eventually(func() int {
			Expect(admin.List(ctx, list, client.InNamespace(ns), client.HasLabels{v1alpha1.RequestUIDLabel}, client.Limit(1))).To(Succeed())
			return len(list.Items)
		}, 2*time.Minute, 500*time.Millisecond).WithContext(ctx).Should(BeZero())
	}
}

// restart kills the manager, starts another, and lists what that writes until it has
// looked at all there is.
func restart(ctx context.Context, m *operator.Manager) (started *operator.Manager, writes []string) {
	GinkgoHelper()
	until(ctx, time.Now().Add(2*time.Second)) // Events of the grants
	Expect(m.Kill()).To(Succeed())
	mark := auditMark()
	started = startDirect(ctx)
	until(ctx, time.Now().Add(sized(10*time.Second, 3*time.Second)))
	return started, operatorWrites(mark)
}

// operatorWrites are those of the operator but its lease and what only asks.
func operatorWrites(mark controlplane.AuditMark) []string {
	GinkgoHelper()
	events, err := plane.Writes(mark, operator.Username)
	Expect(err).NotTo(HaveOccurred())
	var out []string
	for _, e := range events {
		if e.ObjectRef.Resource != "leases" && !strings.Contains(e.RequestURI, "dryRun=All") {
			out = append(out, e.Verb+" "+e.RequestURI)
		}
	}
	return out
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[int(q*float64(len(sorted)-1))]
}

func ms(d time.Duration) string { return d.Round(100 * time.Microsecond).String() }
