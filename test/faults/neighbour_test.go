// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"fmt"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// As a webhook of one team does that swallows what it is sent. There are more of their
// bindings than the operator has workers.
var _ = Describe("Beside namespaces in which the operator gets no answer", func() {
	for what, verbs := range map[string][]string{"deletions": {"delete"}, "deletions and updates": {"delete", "update"}} {
		It("to "+what+", access ends soon", func(ctx SpecContext) {
			m := run(ctx)
			n, beside := sized(1000, 150), 20
			s, hung := newScene(ctx, 3*time.Second, false), newScene(ctx, 15*time.Second, false)
			end := time.Now().Add(setup(n + beside)).Truncate(time.Second)
			s.expiring(ctx, beside, end.Add(time.Second), end.Add(11*time.Second))
			hung.expiring(ctx, n, end, end)
			hung.swallow(m, "rolebindings", verbs...)
			from := time.Now()
			until(ctx, end.Add(11*time.Second))
			s.over(ctx)
			if slices.Contains(verbs, "update") {
				Expect(hung.state(ctx).Bindings).To(HaveLen(n), "nothing could end them")
				hung.down(from, time.Now())
			} else {
				hung.over(ctx)
			}
			m.proxy.Inject(nil)
			s.converge(ctx)
			hung.converge(ctx)
			s.judge(ctx, row{sweep: "beside hanging " + what, runs: beside})
			hung.judge(ctx, row{sweep: "hanging " + what, runs: n})
		}, SpecTimeout(5*time.Minute))
	}

	// As a webhook that is down makes them, with the default timeout and failurePolicy Ignore.
	It("for 10 s at each write, access ends there all the same", func(ctx SpecContext) {
		m := run(ctx)
		n := 30
		s := newScene(ctx, 15*time.Second, false)
		end := time.Now().Add(setup(n)).Truncate(time.Second)
		s.expiring(ctx, n, end, end)
		m.proxy.Inject(func(c Call) Effect {
			if s.has(c.Namespace) && c.Resource == "rolebindings" && c.Mutates() {
				return Effect{Delay: 10 * time.Second}
			}
			return Effect{}
		})
		until(ctx, end)
		s.over(ctx)
		m.proxy.Inject(nil)
		s.converge(ctx)
		s.judge(ctx, row{sweep: "each write takes 10 s", runs: n})
	}, SpecTimeout(5*time.Minute))

	It("to status, access is revoked soon", func(ctx SpecContext) {
		m := run(ctx)
		n := sized(1000, 50)
		s, hung := newScene(ctx, time.Second, false), newScene(ctx, time.Second, true)
		held := make([]*v1alpha1.AccessRequest, 5)
		for i := range held {
			held[i] = ask(ctx, s.request(fmt.Sprintf("held-%d", i)))
		}
		s.active(ctx, len(held))
		hung.swallow(m, "accessrequests/status", "patch")
		each(n, func(i int) { ask(ctx, hung.request(fmt.Sprintf("hung-%04d", i))) })
		var worst time.Duration
		for i, req := range held {
			said := time.Now()
			Expect(alice.Create(ctx, revocation(req))).To(Succeed())
			Eventually(func() int { return len(s.state(ctx).Bindings) }, 20*time.Second).WithContext(ctx).Should(Equal(len(held) - i - 1))
			worst = max(worst, time.Since(said))
		}
		Expect(worst).To(BeNumerically("<", 15*time.Second))
		m.proxy.Inject(nil)
		s.converge(ctx)
		s.judge(ctx, row{sweep: "revoked beside hanging status", runs: len(held), note: "worst " + worst.Round(time.Millisecond).String()})
	}, SpecTimeout(5*time.Minute))
})

// swallow lets the operator have no answer to calls in the scene.
func (s *scene) swallow(m *running, resource string, verbs ...string) {
	m.proxy.Inject(func(c Call) Effect {
		return Effect{Hang: s.has(c.Namespace) && slices.ContainsFunc(verbs, func(verb string) bool { return c.Is(verb, resource) })}
	})
}

// over waits until nobody holds a role by a binding of the scene.
func (s *scene) over(ctx context.Context) {
	GinkgoHelper()
	Eventually(func() []rbacv1.RoleBinding {
		return slices.DeleteFunc(s.state(ctx).Bindings, func(b rbacv1.RoleBinding) bool { return len(b.Subjects) == 0 })
	}, 90*time.Second).WithContext(ctx).Should(BeEmpty())
}
