// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// chaos makes a share of all calls fail, in a way that a seed decides.
type chaos struct {
	mu     sync.Mutex
	random *rand.Rand
	share  float64
	failed atomic.Int64
}

func (c *chaos) fault(call Call) Effect {
	c.mu.Lock()
	hit, kind := c.random.Float64() < c.share, c.random.IntN(8)
	c.mu.Unlock()
	if !hit {
		return Effect{}
	}
	c.failed.Add(1)
	if call.Verb == "watch" {
		return []Effect{{Status: 410}, {Drop: true}, {Status: 500}}[kind%3]
	}
	switch kind {
	case 0, 1:
		return Effect{Status: 500}
	case 2:
		return Effect{Status: 429}
	case 3:
		return Effect{Status: 409}
	case 4:
		return Effect{Hang: true}
	case 5:
		return Effect{Drop: true}
	default:
		return Effect{Mute: true} // the worst: it was done, and nobody says so
	}
}

var _ = Describe("A tenth of all calls failing at random", func() {
	It("breaks no invariant, and once it stops all is right within 30 s", func(ctx SpecContext) {
		m := run(ctx)
		lasting, seed := sized(4*time.Minute, 8*time.Second), uint64(GinkgoRandomSeed())
		s, waiting := newScene(ctx, 15*time.Second, false), newScene(ctx, 15*time.Second, true)
		storm := &chaos{random: rand.New(rand.NewPCG(seed, 1)), share: 0.1}
		m.proxy.Inject(storm.fault)
		end := time.Now().Add(lasting)
		var asked atomic.Int64
		each(workers/2, func(worker int) {
			for i := 0; time.Now().Before(end); i++ {
				live(ctx, []*scene{s, waiting}[worker%2], fmt.Sprintf("a-%d-%04d", worker, i), (worker/2+i)%4)
				asked.Add(1)
			}
		})
		m.proxy.Inject(nil)
		took := max(s.converge(ctx), waiting.converge(ctx)).Round(10 * time.Millisecond)
		note := fmt.Sprintf("seed %d, %d calls failed, right %s after", seed, storm.failed.Load(), took)
		n := int(asked.Load())
		until(ctx, time.Now().Add(lifetime+time.Second)) // the last ones expire
		s.converge(ctx)
		s.judge(ctx, row{sweep: "10 % of calls fail for " + lasting.String(), runs: n / 2, note: note})
		waiting.judge(ctx, row{sweep: "the same, with approvals", runs: n - n/2})
		Expect(storm.failed.Load()).To(BeNumerically(">", 10))
	}, SpecTimeout(15*time.Minute))
})

// lifetime is the longest of a life in the storm.
const lifetime = 6 * time.Second

// live is a short life that ends in one of four ways.
func live(ctx context.Context, s *scene, name string, how int) {
	GinkgoHelper()
	req := ask(ctx, s.request(name).NotAfter(time.Now().Add(lifetime).Truncate(time.Second)))
	if how != 3 {
		decide(ctx, bob, req, v1alpha1.VerdictApprove)
	}
	end := time.Now().Add(time.Duration(how) * time.Second)
	until(ctx, end)
	switch how {
	case 0:
		Expect(admin.Delete(ctx, req)).To(Succeed())
	case 1:
		decide(ctx, bob, req, v1alpha1.VerdictRevoke)
	case 2:
		err := alice.Create(ctx, revocation(req))
		Expect(err == nil || apierrors.IsAlreadyExists(err)).To(BeTrue())
	}
}
