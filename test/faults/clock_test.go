// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/operator"
)

// The proxy sets what clock the API server seems to have. Access begins and ends by
// that one. What it does not change is what the API server stamps.
var _ = Describe("Clocks that are apart", func() {
	for name, ahead := range map[string]time.Duration{
		"ten minutes ahead": 10 * time.Minute, "ten minutes behind": -10 * time.Minute,
		// Admission believes these; by ten minutes it refuses the binding.
		"forty seconds ahead": 40 * time.Second, "forty seconds behind": -40 * time.Second,
	} {
		It("let nothing be granted, and the API server's decides what ends; when it is "+name, whole, func(ctx SpecContext) {
			m := run(ctx)
			s := newScene(ctx, 20*time.Second, false)
			soon := ask(ctx, s.request("soon").NotAfter(time.Now().Add(5*time.Second).Truncate(time.Second)))
			await(ctx, soon, v1alpha1.ReasonGranted)
			long := ask(ctx, s.request("long"))
			await(ctx, long, v1alpha1.ReasonGranted)

			m.proxy.SetClockAhead(ahead)
			stepped := time.Now()
			// The first answer tells; a request has the operator ask.
			refused := ask(ctx, s.request("refused").Lasting(time.Hour))
			await(ctx, refused, v1alpha1.ReasonClockSkew)
			if ahead > 0 {
				await(ctx, soon, v1alpha1.ReasonExpired)
			} else {
				until(ctx, soon.Status.Grant.ExpiresAt.Add(time.Second))
				Expect(s.state(ctx).Bindings).To(HaveLen(2), "by the API server's clock it is not time yet")
			}

			m.proxy.SetClockAhead(0)
			s.down(stepped, time.Now())
			next := ask(ctx, s.request("next"))
			await(ctx, next, v1alpha1.ReasonGranted)
			Expect(next.Status.Grant.GrantedAt.Time).To(BeTemporally("~", time.Now(), 5*time.Second), "by the clock as it is now")
			await(ctx, soon, v1alpha1.ReasonExpired)
			Expect(admin.Get(ctx, keyOf(long), long)).To(Succeed())
			Expect(operator.Reason(long)).To(Equal(v1alpha1.ReasonGranted))
			if ahead < 0 {
				s.converge(ctx)
				s.judge(ctx, row{sweep: "clock stepped back and forth", runs: 4})
				return
			}
			report(row{sweep: "clock stepped ahead and back", runs: 4, note: "ended by the API server's clock, early by any other"})
		}, SpecTimeout(2*time.Minute))
	}
})
