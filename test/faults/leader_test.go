// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

var _ = Describe("Of two managers", func() {
	It("a leader that is suspended around its writes never grants after the end", whole, func(ctx SpecContext) {
		one, other := run(ctx, "--leader-elect"), run(ctx, "--leader-elect")
		// No more than the operator has quick seats for: others begin when the first go on on slow
		// ones, and those are tried again before all are caught.
		rounds, batch := sized(208, 4), sized(8, 4)
		for done := 0; done < rounds; done += batch {
			s := newScene(ctx, 3*time.Second, false)
			p := &pause{ns: s.ns, release: make(chan struct{})}
			DeferCleanup(p.letGo)
			one.proxy.Inject(p.fault(one))
			other.proxy.Inject(p.fault(other))
			requests := make([]*v1alpha1.AccessRequest, batch)
			each(batch, func(i int) { requests[i] = ask(ctx, s.request(fmt.Sprintf("a-%02d", i))) })
			Eventually(p.held.Load).WithContext(ctx).Should(Equal(int64(batch)))
			leader := p.caught.Load()
			Expect(leader.current.Load().Signal(syscall.SIGSTOP)).To(Succeed())

			s.active(ctx, batch) // by the other one, when the lease has run out
			each(batch, func(i int) { endSomehow(ctx, i, requests[i]) })
			Eventually(func() int { return len(s.state(ctx).Bindings) }).WithContext(ctx).Should(BeZero())

			p.letGo()
			Eventually(p.answered.Load).WithContext(ctx).Should(Equal(int64(batch)), "the late writes arrive")
			Expect(leader.current.Load().Signal(syscall.SIGCONT)).To(Succeed())
			until(ctx, time.Now().Add(2*time.Second)) // what it still does
			s.converge(ctx)
			s.judge(ctx, row{sweep: "leader suspended around its POST", runs: batch})
			leader.kill() // so that the next round begins with one leader
		}
	}, SpecTimeout(20*time.Minute))

	for how, signal := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "frozen": syscall.SIGSTOP} {
		It("the standby ends access at most 3 s late when the leader is "+how+" at the deadline", whole, func(ctx SpecContext) {
			one, other := run(ctx, "--leader-elect"), run(ctx, "--leader-elect")
			const grants = 20
			for range sized(5, 1) {
				leader := leading(ctx, one, other)
				s := newScene(ctx, 3*time.Second, false)
				end := time.Now().Add(4 * time.Second).Truncate(time.Second)
				s.expiring(ctx, grants, end, end)
				until(ctx, end.Add(-20*time.Millisecond))
				Expect(leader.current.Load().Signal(signal)).To(Succeed())
				Eventually(func() int { return len(s.state(ctx).Bindings) }).WithContext(ctx).Should(BeZero())
				s.converge(ctx)
				s.judge(ctx, row{sweep: "leader " + how + " at the deadline", runs: grants})
				if signal == syscall.SIGSTOP {
					leader.kill()
				}
			}
		}, SpecTimeout(5*time.Minute))
	}
})

// pause catches the writes of the leader of a namespace, and lets them go later.
type pause struct {
	ns             string
	caught         atomic.Pointer[running]
	held, answered atomic.Int64
	release        chan struct{}
	once           sync.Once
}

func (p *pause) letGo() { p.once.Do(func() { close(p.release) }) }

func (p *pause) fault(of *running) Fault {
	return func(c Call) Effect {
		if c.Namespace != p.ns || !c.Is("create", "rolebindings") {
			return Effect{}
		}
		p.caught.CompareAndSwap(nil, of)
		if p.caught.Load() != of {
			return Effect{}
		}
		p.held.Add(1)
		<-p.release
		return Effect{After: func() { p.answered.Add(1) }}
	}
}

// endSomehow ends a grant in one of three ways.
func endSomehow(ctx context.Context, i int, req *v1alpha1.AccessRequest) {
	GinkgoHelper()
	switch i % 3 {
	case 0:
		Expect(admin.Delete(ctx, req)).To(Succeed())
	case 1:
		decide(ctx, bob, req, v1alpha1.VerdictRevoke)
		await(ctx, req, v1alpha1.ReasonRevoked)
	default:
		decide(ctx, alice, req, v1alpha1.VerdictRevoke)
		await(ctx, req, v1alpha1.ReasonReturned)
	}
}

// leading waits until one of the managers leads that runs, and returns it.
func leading(ctx context.Context, all ...*running) *running {
	GinkgoHelper()
	s := newScene(ctx, time.Minute, false)
	var leader atomic.Pointer[running]
	for _, r := range all {
		r.proxy.Inject(func(c Call) Effect {
			if c.Namespace == s.ns && c.Is("create", "rolebindings") {
				leader.Store(r)
			}
			return Effect{}
		})
	}
	req := ask(ctx, s.request("a"))
	await(ctx, req, v1alpha1.ReasonGranted)
	Expect(admin.Delete(ctx, req)).To(Succeed())
	Eventually(func() bool { return apierrors.IsNotFound(admin.Get(ctx, client.ObjectKeyFromObject(req), req)) }).WithContext(ctx).
		Should(BeTrue())
	return leader.Load()
}
