// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

// An approver may make as many decisions as he likes: only a ResourceQuota bounds them.
var _ = Describe("Beside an approver who decides on one request thousands of times, at the greatest length", func() {
	// In a sample, what the process takes anyway would hide what the decisions take.
	It("the operator keeps its memory, hears a revocation, and ends access on time", whole, func(ctx SpecContext) {
		m := startDirect(ctx)
		const n, many = 20, 10_000
		s, flooded := newScene(ctx, 3*time.Second, false), newScene(ctx, time.Minute, true)
		req := ask(ctx, flooded.request("flooded"))
		await(ctx, req, v1alpha1.ReasonPendingApproval)
		const flood = many * 5 * time.Millisecond
		begin := time.Now().Add(setup(n)).Truncate(time.Second)
		s.expiring(ctx, n, begin.Add(time.Second), begin.Add(flood))
		before, err := m.Memory()
		Expect(err).NotTo(HaveOccurred())

		until(ctx, begin)
		made := make(chan struct{})
		go func() {
			defer GinkgoRecover()
			defer close(made)
			each(many, func(i int) { Expect(bob.Create(ctx, longest(i, req))).To(Succeed()) })
		}()
		most := mostMemory(ctx, m, made)
		grown := float64(most-before) / float64(many) / 1024

		said := time.Now()
		decide(ctx, bob, req, v1alpha1.VerdictRevoke)
		await(ctx, req, v1alpha1.ReasonRevoked)
		took := time.Since(said)
		s.over(ctx)
		s.converge(ctx)
		s.judge(ctx, row{
			sweep: "decisions without end", runs: n,
			note: fmt.Sprintf("%d of 4 kB: %.1f kB more for each; revoked after %s", many, grown, ms(took)),
		})
		Expect(took).To(BeNumerically("<", 2*time.Second))
		Expect(grown).To(BeNumerically("<", 20), "kB of memory for each")
	}, SpecTimeout(10*time.Minute))
})

// longest is an approval with the longest comment there can be.
func longest(i int, req *v1alpha1.AccessRequest) *v1alpha1.AccessDecision {
	d := builders.Decision(fmt.Sprintf("long-%05d", i), req, v1alpha1.VerdictApprove)
	d.Spec.Comment = strings.Repeat("😀", 1024)
	return d
}

// mostMemory is the most that a manager has until something is done.
func mostMemory(ctx context.Context, m *operator.Manager, done <-chan struct{}) (most int64) {
	GinkgoHelper()
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		now, err := m.Memory()
		Expect(err).NotTo(HaveOccurred())
		most = max(most, now)
		select {
		case <-done:
			tick.Stop()
			return most
		case <-ctx.Done():
			return most
		case <-tick.C:
		}
	}
}
