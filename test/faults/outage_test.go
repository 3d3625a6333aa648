// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

// grantsInOne is how many grants are in a namespace: admission looks at all that are
// there when another is made.
const grantsInOne = 100

// expiring creates n grants that end between two moments, evenly, and waits for them.
func (s *scene) expiring(ctx context.Context, n int, first, last time.Time) {
	GinkgoHelper()
	widen(ctx, s, n/grantsInOne)
	namespaces := s.namespaces()
	each(n, func(i int) {
		end := first.Add(last.Sub(first) * time.Duration(i) / time.Duration(n)).Truncate(time.Second)
		ask(ctx, s.request(fmt.Sprintf("e-%04d", i)).In(namespaces[i%len(namespaces)]).NotAfter(end))
	})
	s.activeWithin(ctx, n, time.Until(first), "all must be granted before any ends")
}

// setup is how long it may take to grant so many, in one namespace and beside another
// suite.
func setup(n int) time.Duration { return 8*time.Second + time.Duration(n)*100*time.Millisecond }

var _ = Describe("Access ends", func() {
	grants := sized(1000, 30)
	outage := sized(60*time.Second, 4*time.Second)

	It("soon after the API server is back, which was away across many ends", whole, func(ctx SpecContext) {
		m := run(ctx)
		s := newScene(ctx, 10*time.Second, false)
		first := time.Now().Add(setup(grants))
		s.expiring(ctx, grants, first, first.Add(outage))
		from := time.Now()
		Expect(plane.StopAPIServer()).To(Succeed())
		until(ctx, first.Add(outage))
		Expect(plane.StartAPIServer(ctx)).To(Succeed())
		s.down(from, time.Now())
		s.converge(ctx)
		Expect(m.starts.Load()).To(Equal(int64(1)), "the manager bore it")
		s.judge(ctx, row{sweep: "API server away " + outage.String(), runs: grants})
	}, SpecTimeout(10*time.Minute))

	It("soon after a manager is ready again, when none ran across many ends", func(ctx SpecContext) {
		m := run(ctx)
		s := newScene(ctx, 10*time.Second, false)
		first := time.Now().Add(setup(grants))
		s.expiring(ctx, grants, first, first.Add(outage/2))
		from := time.Now()
		m.stop()
		until(ctx, first.Add(outage/2))
		m.resume(ctx)
		s.down(from, time.Now())
		s.converge(ctx)
		s.judge(ctx, row{sweep: "all managers down", runs: grants})
	}, SpecTimeout(10*time.Minute))

	It("before anything new is granted, when somebody had said no while no manager ran", whole, func(ctx SpecContext) {
		m := run(ctx)
		n, asked := sized(150, 10), sized(1000, 50)
		s := newScene(ctx, time.Minute, false)
		requests := make([]*v1alpha1.AccessRequest, n)
		each(n, func(i int) { requests[i] = ask(ctx, s.request(fmt.Sprintf("z-%04d", i))) })
		s.active(ctx, n)
		m.stop()
		each(n, func(i int) { decide(ctx, bob, requests[i], v1alpha1.VerdictRevoke) })
		each(asked, func(i int) { ask(ctx, s.request(fmt.Sprintf("a-%04d", i))) })
		begun := time.Now()
		m.resume(ctx)
		s.active(ctx, asked)
		s.converge(ctx)

		var last time.Time
		h, before := s.history(), 0
		for _, b := range h.Bindings {
			if b.Ended.After(last) {
				last = b.Ended
			}
		}
		for _, b := range h.Bindings {
			if b.CreatedAt.After(begun) && b.CreatedAt.Before(last) {
				before++
			}
		}
		Expect(before).To(BeNumerically("<", n), "granted before the last one that was revoked had ended")
		s.judge(ctx, row{sweep: "a no while no manager ran", runs: n, note: fmt.Sprintf("all ended %s after the start, "+
			"%d of %d new ones granted before", last.Sub(begun).Round(10*time.Millisecond), before, asked)})
	}, SpecTimeout(5*time.Minute))

	It("on time although the operator may not delete, and the objects go when it may", func(ctx SpecContext) {
		run(ctx)
		n, pause := sized(100, 10), sized(20*time.Second, 4*time.Second)
		s := newScene(ctx, 3*time.Second, false)
		first := time.Now().Add(setup(n))
		s.expiring(ctx, n, first, first.Add(pause))
		giveBack := withoutVerbs(ctx, "delete")
		until(ctx, first.Add(pause))
		giveBack(ctx)
		s.converge(ctx)
		s.judge(ctx, row{sweep: "delete forbidden " + pause.String(), runs: n})
	}, SpecTimeout(5*time.Minute))

	It("soon after the operator may again, which could neither delete nor update", whole, func(ctx SpecContext) {
		run(ctx)
		n, pause := sized(100, 10), sized(20*time.Second, 4*time.Second)
		s := newScene(ctx, 6*time.Second, false)
		first := time.Now().Add(setup(n))
		s.expiring(ctx, n, first, first.Add(pause))
		from, giveBack := time.Now(), withoutVerbs(ctx, "delete", "update")
		until(ctx, first.Add(pause))
		Expect(s.state(ctx).Bindings).To(HaveLen(n), "nothing could end them")
		giveBack(ctx)
		s.down(from, time.Now())
		s.converge(ctx)
		s.judge(ctx, row{sweep: "delete and update forbidden " + pause.String(), runs: n})
	}, SpecTimeout(5*time.Minute))

	It("at once when the only manager runs on, which was suspended across many ends", whole, func(ctx SpecContext) {
		m := run(ctx)
		n := sized(100, 10)
		s := newScene(ctx, 3*time.Second, false)
		first := time.Now().Add(setup(n))
		s.expiring(ctx, n, first, first.Add(5*time.Second))
		from := time.Now()
		Expect(m.current.Load().Signal(syscall.SIGSTOP)).To(Succeed())
		until(ctx, first.Add(6*time.Second))
		Expect(m.current.Load().Signal(syscall.SIGCONT)).To(Succeed())
		s.down(from, time.Now())
		s.converge(ctx)
		s.judge(ctx, row{sweep: "the only manager suspended", runs: n})
	}, SpecTimeout(5*time.Minute))

	// As a webhook for deletions does that is down, or swallows what it is sent.
	for how, effect := range map[string]Effect{"fail": {Status: 500}, "are never answered": {Hang: true}} {
		It("soon although deletions "+how, func(ctx SpecContext) {
			m := run(ctx)
			n := 10
			s := newScene(ctx, 3*time.Second, false)
			s.expiring(ctx, n, time.Now().Add(6*time.Second), time.Now().Add(7*time.Second))
			m.proxy.Inject(func(c Call) Effect {
				if c.Namespace == s.ns && c.Is("delete", "rolebindings") {
					return effect
				}
				return Effect{}
			})
			s.over(ctx)
			m.proxy.Inject(nil)
			s.converge(ctx)
			s.judge(ctx, row{sweep: "deletions " + how, runs: n})
		}, SpecTimeout(time.Minute))
	}

	It("on time beside many requests that always fail", whole, func(ctx SpecContext) {
		m := run(ctx)
		n := sized(1000, 50)
		s, poisoned := newScene(ctx, time.Second, false), newScene(ctx, time.Second, false)
		m.proxy.Inject(func(c Call) Effect {
			if c.Namespace == poisoned.ns && c.Is("create", "rolebindings") {
				return Effect{Status: 500}
			}
			return Effect{}
		})
		end := time.Now().Add(setup(n)).Truncate(time.Second)
		req := ask(ctx, s.request("mortal").NotAfter(end))
		each(n, func(i int) { ask(ctx, poisoned.request(fmt.Sprintf("poison-%04d", i))) })
		until(ctx, end)
		await(ctx, req, v1alpha1.ReasonExpired)
		Expect(poisoned.state(ctx).Bindings).To(BeEmpty())
		m.proxy.Inject(nil)
		Expect(admin.DeleteAllOf(ctx, &v1alpha1.AccessRequest{}, client.InNamespace(poisoned.ns))).To(Succeed())
		s.converge(ctx)
		poisoned.converge(ctx)
		s.judge(ctx, row{sweep: "beside requests that fail", runs: n})
	}, SpecTimeout(5*time.Minute))

	for _, down := range []bool{false, true} {
		name := map[bool]string{false: "soon", true: "soon, also while the manager is down,"}[down]
		It(name+" when a namespace with many grants is deleted", whole, func(ctx SpecContext) {
			m := run(ctx)
			n := sized(50, 10)
			s := newScene(ctx, time.Second, false)
			each(n, func(i int) { ask(ctx, s.request(fmt.Sprintf("g-%04d", i))) })
			s.active(ctx, n)
			if down {
				m.stop()
			}
			begun := time.Now()
			Expect(admin.Delete(ctx, builders.Namespace(s.ns))).To(Succeed())
			Eventually(func() bool {
				return client.IgnoreNotFound(admin.Get(ctx, client.ObjectKey{Name: s.ns}, builders.Namespace(""))) == nil &&
					len(s.state(ctx).Bindings) == 0 && len(s.state(ctx).Requests) == 0
			}, time.Minute).WithContext(ctx).Should(BeTrue())
			took := time.Since(begun).Round(10 * time.Millisecond)
			if down {
				m.resume(ctx)
			}
			s.converge(ctx)
			s.judge(ctx, row{sweep: "namespace deleted", runs: n, note: fmt.Sprintf("manager down: %v; gone after %s", down, took)})
		}, SpecTimeout(3*time.Minute))
	}
})

// withoutVerbs takes verbs on rolebindings from the operator, and returns what gives
// them back.
func withoutVerbs(ctx context.Context, taken ...string) (restore func(context.Context)) {
	GinkgoHelper()
	role := &rbacv1.ClusterRole{}
	set := func(ctx context.Context, change func([]string) []string) {
		GinkgoHelper()
		Expect(admin.Get(ctx, client.ObjectKey{Name: "lapse-manager"}, role)).To(Succeed())
		for i, rule := range role.Rules {
			if slices.Contains(rule.Resources, "rolebindings") {
				role.Rules[i].Verbs = change(rule.Verbs)
			}
		}
		Expect(admin.Update(ctx, role)).To(Succeed())
	}
	without := func(verbs []string) []string {
		return slices.DeleteFunc(slices.Clone(verbs), func(v string) bool { return slices.Contains(taken, v) })
	}
	set(ctx, without)
	restore = func(ctx context.Context) {
		GinkgoHelper()
		set(ctx, func(verbs []string) []string { return append(without(verbs), taken...) })
	}
	DeferCleanup(func(ctx SpecContext) { restore(ctx) })
	return restore
}
