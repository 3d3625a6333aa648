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
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/test/operator"
)

// As a webhook of one team does that swallows what it is sent. There are more of their
// bindings than the operator has workers.
var _ = Describe("Beside namespaces in which the operator gets no", func() {
	for what, c := range map[string]struct {
		verbs      []string
		effect     Effect
		namespaces int // more than one for each hundred bindings
		labels     Labels
	}{
		"answer to deletions":             {verbs: []string{"delete"}, effect: Effect{Hang: true}},
		"answer to deletions and updates": {verbs: []string{"delete", "update"}, effect: Effect{Hang: true}},
		"answer to either, forty of them": {
			verbs: []string{"delete", "update"}, effect: Effect{Hang: true}, namespaces: 40, labels: whole,
		},
		"quick answer to either": {verbs: []string{"delete", "update"}, effect: Effect{Delay: 1500 * time.Millisecond}},
	} {
		It(what+", access ends soon", func(ctx SpecContext) {
			m := run(ctx)
			n, beside := sized(1000, 110), 20
			s, slow := newScene(ctx, 3*time.Second, false), newScene(ctx, sized(60*time.Second, 15*time.Second), false)
			end := time.Now().Add(setup(n + beside)).Truncate(time.Second)
			s.expiring(ctx, beside, end.Add(time.Second), end.Add(11*time.Second))
			widen(ctx, slow, c.namespaces)
			slow.expiring(ctx, n, end, end)
			slow.disturb(m, c.effect, "rolebindings", c.verbs...)
			from := time.Now()
			until(ctx, end.Add(11*time.Second))
			s.over(ctx)
			if c.effect.Hang && slices.Contains(c.verbs, "update") {
				Expect(slow.state(ctx).Bindings).To(HaveLen(n), "nothing could end them")
				slow.down(from, time.Now())
			} else {
				slow.over(ctx)
			}
			m.proxy.Inject(nil)
			s.converge(ctx)
			slow.converge(ctx)
			s.judge(ctx, row{sweep: "beside no " + what, runs: beside})
			slow.judge(ctx, row{sweep: "no " + what, runs: n})
		}, SpecTimeout(5*time.Minute), c.labels)
	}

	// As a webhook that is down makes them, with the default timeout and failurePolicy Ignore.
	It("answer for 10 s at each write, access ends there all the same", func(ctx SpecContext) {
		m := run(ctx)
		n := 16 // as many as one namespace may have on slow seats; the next ones take as long again
		s := newScene(ctx, 15*time.Second, false)
		end := time.Now().Add(setup(n)).Truncate(time.Second)
		s.expiring(ctx, n, end, end)
		s.disturb(m, Effect{Delay: 10 * time.Second}, "rolebindings", "delete", "update")
		until(ctx, end)
		s.over(ctx)
		m.proxy.Inject(nil)
		s.converge(ctx)
		s.judge(ctx, row{sweep: "each write takes 10 s", runs: n})
	}, SpecTimeout(5*time.Minute))

	It("answer to status, access is revoked soon", func(ctx SpecContext) {
		m := run(ctx)
		n := sized(1000, 50)
		s, hung := newScene(ctx, time.Second, false), newScene(ctx, time.Second, false)
		held := make([]*v1alpha1.AccessRequest, 5)
		for i := range held {
			held[i] = ask(ctx, s.request(fmt.Sprintf("held-%d", i)))
		}
		s.active(ctx, len(held))
		own := ask(ctx, hung.request("own"))
		hung.active(ctx, 1)
		hung.disturb(m, Effect{Hang: true}, "accessrequests/status", "patch")
		each(n, func(i int) { ask(ctx, hung.request(fmt.Sprintf("hung-%04d", i))) })
		gone := func(s *scene, req *v1alpha1.AccessRequest) time.Duration {
			said := time.Now()
			Expect(alice.Create(ctx, revocation(req))).To(Succeed())
			Eventually(func() error {
				return admin.Get(ctx, client.ObjectKey{Namespace: s.ns, Name: binding.Name(req)}, &rbacv1.RoleBinding{})
			}, 40*time.Second).WithContext(ctx).Should(MatchError(apierrors.IsNotFound, "IsNotFound"))
			return time.Since(said)
		}
		var worst time.Duration
		for _, req := range held {
			worst = max(worst, gone(s, req))
		}
		there := gone(hung, own)
		Expect(worst).To(BeNumerically("<", 15*time.Second))
		m.proxy.Inject(nil)
		s.converge(ctx)
		s.judge(ctx, row{
			sweep: "revoked beside hanging status", runs: len(held),
			note: fmt.Sprintf("worst %s; there %s", worst.Round(time.Millisecond), there.Round(time.Millisecond)),
		})
	}, SpecTimeout(5*time.Minute))
})

// The webhooks are real, since what they hold up keeps its seat in the API server's flow
// control, and there are two replicas. test/e2e has one namespace.
var _ = Describe("Beside six namespaces whose webhooks answer nothing", whole, func() {
	It("access ends soon, and there when they have let go", func(ctx SpecContext) {
		startDirect(ctx, "--leader-elect")
		startDirect(ctx, "--leader-elect")
		const namespaces, hung, beside = 6, 180, 20
		s, slow := newScene(ctx, 3*time.Second, false), newScene(ctx, 2*time.Minute, false)
		widen(ctx, slow, namespaces-1-hung/grantsInOne)
		end := time.Now().Add(setup(hung+beside) + 20*time.Second).Truncate(time.Second)
		s.expiring(ctx, beside, end.Add(time.Second), end.Add(11*time.Second))
		slow.expiring(ctx, hung, end, end)
		for _, ns := range slow.namespaces() {
			writes := operator.Foreign{
				Namespace: ns, Group: rbacv1.GroupName, Resource: "rolebindings",
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Update, admissionregistrationv1.Delete},
			}
			remove, err := writes.Swallow(ctx, admin, 10*time.Second)
			DeferCleanup(func(ctx SpecContext) { Expect(remove(ctx)).To(Succeed()) })
			Expect(err).NotTo(HaveOccurred())
			Eventually(func(ctx context.Context) error {
				ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
				defer cancel()
				return admin.DeleteAllOf(ctx, &rbacv1.RoleBinding{}, client.InNamespace(ns), client.DryRunAll)
			}, 20*time.Second, 100*time.Millisecond).WithContext(ctx).Should(MatchError(context.DeadlineExceeded))
		}
		Expect(time.Now()).To(BeTemporally("<", end), "the set-up took too long")
		until(ctx, end.Add(11*time.Second))
		s.over(ctx)
		slow.over(ctx)
		s.converge(ctx)
		slow.converge(ctx)
		s.judge(ctx, row{sweep: "beside six namespaces with webhooks that hang", runs: beside})
		slow.judge(ctx, row{sweep: "six namespaces with webhooks that hang for 10 s", runs: hung})
	}, SpecTimeout(5*time.Minute))
})

// disturb has an effect on calls of the operator in the scene.
func (s *scene) disturb(m *running, effect Effect, resource string, verbs ...string) {
	m.proxy.Inject(func(c Call) Effect {
		if s.has(c.Namespace) && slices.ContainsFunc(verbs, func(verb string) bool { return c.Is(verb, resource) }) {
			return effect
		}
		return Effect{}
	})
}

// over waits until nobody holds a role by a binding of the scene.
func (s *scene) over(ctx context.Context) {
	GinkgoHelper()
	Eventually(func() []rbacv1.RoleBinding {
		return slices.DeleteFunc(s.state(ctx).Bindings, func(b rbacv1.RoleBinding) bool { return len(b.Subjects) == 0 })
	}, 90*time.Second, statePolling).WithContext(ctx).Should(BeEmpty())
}
