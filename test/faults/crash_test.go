// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

// flow is one way in which a request can go.
type flow struct {
	name string
	// approved says that bob has to approve.
	approved bool
	// writes is how many the operator issues when nothing goes wrong, Events among
	// them. raced is how many more there are if it comes before a controller of
	// Kubernetes.
	writes, raced int64
	// drive does what people do.
	drive func(ctx context.Context, s *scene) *v1alpha1.AccessRequest
	// want is the reason at the end; empty if the request is gone then.
	want string
}

func asked(ctx context.Context, s *scene) *v1alpha1.AccessRequest { return ask(ctx, s.request("a")) }

func granted(ctx context.Context, s *scene) *v1alpha1.AccessRequest {
	GinkgoHelper()
	req := asked(ctx, s)
	await(ctx, req, v1alpha1.ReasonGranted)
	if s.undisturbed {
		events := &corev1.EventList{}
		Eventually(func() []corev1.Event {
			Expect(admin.List(ctx, events, client.InNamespace(s.ns))).To(Succeed())
			return events.Items
		}).WithContext(ctx).Should(ContainElement(HaveField("Reason", v1alpha1.ReasonGranted)))
	}
	return req
}

func approved(ctx context.Context, s *scene) *v1alpha1.AccessRequest {
	GinkgoHelper()
	req := asked(ctx, s)
	await(ctx, req, v1alpha1.ReasonPendingApproval)
	decide(ctx, bob, req, v1alpha1.VerdictApprove)
	return req
}

var flows = []flow{
	{name: "granted", writes: 3, want: v1alpha1.ReasonGranted, drive: asked},
	{name: "approved", writes: 5, approved: true, want: v1alpha1.ReasonGranted, drive: approved},
	{name: "refused", writes: 2, want: v1alpha1.ReasonDenied, drive: func(ctx context.Context, s *scene) *v1alpha1.AccessRequest {
		return ask(ctx, s.request("a").Lasting(12*time.Hour))
	}},
	{name: "expired", writes: 6, want: v1alpha1.ReasonExpired, drive: func(ctx context.Context, s *scene) *v1alpha1.AccessRequest {
		return ask(ctx, s.request("a").NotAfter(time.Now().Add(5*time.Second).Truncate(time.Second)))
	}},
	{name: "revoked", writes: 6, want: v1alpha1.ReasonRevoked, drive: func(ctx context.Context, s *scene) *v1alpha1.AccessRequest {
		req := granted(ctx, s)
		decide(ctx, bob, req, v1alpha1.VerdictRevoke)
		return req
	}},
	{name: "returned", writes: 6, want: v1alpha1.ReasonReturned, drive: func(ctx context.Context, s *scene) *v1alpha1.AccessRequest {
		req := granted(ctx, s)
		decide(ctx, alice, req, v1alpha1.VerdictRevoke)
		return req
	}},
	{name: "request deleted", writes: 3, raced: 1, drive: func(ctx context.Context, s *scene) *v1alpha1.AccessRequest {
		req := granted(ctx, s)
		Expect(admin.Delete(ctx, req)).To(Succeed())
		return req
	}},
	{name: "namespace deleted", writes: 3, raced: 2, drive: func(ctx context.Context, s *scene) *v1alpha1.AccessRequest {
		req := granted(ctx, s)
		Expect(admin.Delete(ctx, builders.Namespace(s.ns))).To(Succeed())
		return req
	}},
}

// write matches what the operator writes in a namespace.
func write(ns string) func(Call) bool {
	return func(c Call) bool { return c.Mutates() && c.Namespace == ns }
}

// finish waits until a flow is where it should be.
func (f flow) finish(ctx context.Context, s *scene, req *v1alpha1.AccessRequest) {
	GinkgoHelper()
	if f.want != "" {
		await(ctx, req, f.want)
	} else {
		Eventually(func() bool {
			return apierrors.IsNotFound(admin.Get(ctx, client.ObjectKeyFromObject(req), req))
		}).WithContext(ctx).Should(BeTrue())
	}
	s.converge(ctx)
}

var _ = Describe("A crash", func() {
	// lateAfterCrash is for a manager that starts again: it lists, and ends what is due.
	const lateAfterCrash = 5 * time.Second

	for _, f := range flows {
		It("at any write, before or after its commit, harms nothing: "+f.name, func(ctx SpecContext) {
			m := run(ctx)
			for _, point := range crashPoints(f.writes, f.raced) {
				By(point.String())
				s := newScene(ctx, lateAfterCrash, f.approved)
				var fired atomic.Bool
				m.proxy.Inject(At(point.write, 1, write(s.ns), m.crash(point.after, func() { fired.Store(true) })))
				f.finish(ctx, s, f.drive(ctx, s))
				if point.write <= f.writes {
					Eventually(fired.Load).WithContext(ctx).Should(BeTrue(), "there is such a write")
				}
				m.proxy.Inject(nil)
				s.judge(ctx, row{sweep: "crash at each write: " + f.name, runs: 1})
			}
		}, SpecTimeout(10*time.Minute))
	}

	It("is tried at every write that there is", func(ctx SpecContext) {
		m := run(ctx)
		each(len(flows), func(i int) {
			f := flows[i]
			s := newScene(ctx, lateAfterCrash, f.approved)
			s.undisturbed = true
			f.finish(ctx, s, f.drive(ctx, s))
			// Events come a little later.
			Eventually(func() int64 { return m.writes(s.ns) }).WithContext(ctx).Should(
				And(BeNumerically(">=", f.writes), BeNumerically("<=", f.writes+f.raced)), f.name)
			s.judge(ctx, row{sweep: "without a fault", runs: 1})
		})
	}, SpecTimeout(time.Minute))

	for name, after := range map[string]bool{"before": false, "after": true} {
		for write, resource := range map[string]string{"create": "rolebindings", "patch": "accessrequests/status", "delete": "rolebindings"} {
			sample := Label()
			if !after || write != "create" {
				sample = whole
			}
			It(fmt.Sprintf("that comes again and again %s the commit of %s %s moves no end", name, write, resource), sample, func(ctx SpecContext) {
				m := run(ctx)
				times := sized(20, 3)
				s := newScene(ctx, time.Duration(times)*lateAfterCrash, false)
				end := time.Now().Add(time.Duration(times)*time.Second + 5*time.Second).Truncate(time.Second)
				req := s.request("a").NotAfter(end)
				if write == "delete" {
					req = s.request("a").NotAfter(time.Now().Add(3 * time.Second).Truncate(time.Second))
				}
				commit := func(c Call) bool { return c.Namespace == s.ns && c.Is(write, resource) }
				m.proxy.Inject(At(1, int64(times), commit, m.crash(after, func() {})))
				asked := ask(ctx, req)
				Eventually(func(g Gomega) {
					g.Expect(admin.Get(ctx, keyOf(asked), asked)).To(Succeed())
					g.Expect(operator.Reason(asked)).To(Equal(v1alpha1.ReasonExpired))
				}, 3*time.Minute).WithContext(ctx).Should(Succeed())
				s.converge(ctx)
				s.judge(ctx, row{sweep: "crash again and again", runs: int(m.starts.Load() - 1)})
			}, SpecTimeout(5*time.Minute))
		}
	}
})

// crash is an effect: kill -9 before a call is forwarded, or when it was committed and
// before anybody was told.
func (r *running) crash(after bool, seen func()) Effect {
	kill := func() { seen(); r.kill() }
	if after {
		return Effect{Mute: true, After: kill}
	}
	return Effect{Drop: true, Before: kill}
}

// crashPoint is a write, and whether it is committed.
type crashPoint struct {
	write int64
	after bool
}

func (p crashPoint) String() string {
	if p.after {
		return fmt.Sprintf("write %d, after its commit", p.write)
	}
	return fmt.Sprintf("write %d, before its commit", p.write)
}

// crashPoints are all of them, or in a sample one.
func crashPoints(writes, raced int64) []crashPoint {
	if !full {
		return []crashPoint{{write: (writes + 1) / 2, after: true}}
	}
	out := make([]crashPoint, 0, 2*(writes+raced))
	for k := range writes + raced {
		out = append(out, crashPoint{k + 1, false}, crashPoint{k + 1, true})
	}
	return out
}
