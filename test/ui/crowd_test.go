// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"fmt"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/test/operator"
)

var _ = Describe("A crowd of requests", Ordered, func() {
	const half = 5000
	var crowd client.Client
	var bob *browser

	BeforeAll(func(SpecContext) {
		Expect(manager.Stop()).To(Succeed()) // so that all of them stay in lists
		DeferCleanup(grants)
		crowd = operator.NewUser(GinkgoTB(), plane, "crowd", "oncall", "system:masters")
		bob = enrol("bob", "sre-leads").browses()
	}, NodeTimeout(time.Minute))

	// One call that deletes 10000 may take longer than the 60 s that the API server gives it.
	AfterAll(func(ctx SpecContext) {
		for _, name := range []func(int) string{plainName, hostileName} {
			many(half, func(i int) error {
				return client.IgnoreNotFound(crowd.Delete(ctx, request(name(i), "admin", "CHG-86")))
			})
		}
	}, NodeTimeout(3*time.Minute))

	It("does not slow the page down when there are 5000", func(ctx SpecContext) {
		many(half, func(i int) error { return crowd.Create(ctx, request(plainName(i), "admin", "CHG-86: one of many")) })
		bob.open("now")
		bob.reads("1 to 50 of 5000")
		took := loads(bob, "now", 10)
		AddReportEntry("a list of 5000", fmt.Sprintf("there after %.0f ms", took))
		Expect(took[len(took)/2]).To(BeNumerically("<", 300), "milliseconds, of the middle one")
	}, SpecTimeout(5*time.Minute))

	It("is cut into pages, none of which hangs, when there are 10000, half of them hostile", func(ctx SpecContext) {
		reasons := acceptable(ctx, crowd)
		many(half, func(i int) error { return crowd.Create(ctx, request(hostileName(i), "admin", reasons[i%len(reasons)])) })
		bob.open("now")
		bob.reads("1 to 50 of 10000")
		bob.fits("a page of hostile names and reasons")
		for _, page := range []string{
			"now", "now?page=100", "now?page=200", "now?page=201", "now?where=pay&page=150", "now?person=" + strings.Repeat("x", 2000),
			"mine", "for-me", "story?namespace=payments&name=" + hostileName(0), "ask?namespace=payments",
		} {
			Expect(loads(bob, page, 1)[0]).To(BeNumerically("<", 3000), "milliseconds, %.60s", page)
			Expect(value[int](bob, `document.querySelectorAll(".card").length`)).To(BeNumerically("<=", 50), "%.60s", page)
			Expect(value[int](bob, foreign)).To(Equal(1), "%.60s has its own script, and nothing else", page)
		}
		bob.open("now?page=200")
		bob.reads("9951 to 10000 of 10000")
		Expect(crowd.Create(ctx, request("last-of-all", "admin", "CHG-89: last of all"))).To(Succeed())
		bob.reads("9951 to 10000 of 10001") // it follows the cluster
	}, SpecTimeout(5*time.Minute))
})

// loads are the milliseconds that a page took each time, the least first.
func loads(b *browser, page string, times int) []float64 {
	GinkgoHelper()
	took := make([]float64, 0, times)
	for range times {
		b.open(page)
		took = append(took, value[float64](b, "performance.getEntriesByType('navigation')[0].loadEventEnd"))
	}
	slices.Sort(took)
	return took
}

// many are made at once.
func many(n int, create func(i int) error) {
	GinkgoHelper()
	const workers = 16
	errs := make(chan error, workers)
	for w := range workers {
		go func() {
			var err error
			for i := w; i < n && err == nil; i += workers {
				err = create(i)
			}
			errs <- err
		}()
	}
	for range workers {
		Expect(<-errs).To(Succeed())
	}
}

// acceptable are the reasons of whoever attacks that the API server takes.
func acceptable(ctx SpecContext, as client.Client) (reasons []string) {
	GinkgoHelper()
	for i, reason := range hostileReasons() {
		if as.Create(ctx, request(fmt.Sprint("tried-", i), "admin", reason), client.DryRunAll) == nil {
			reasons = append(reasons, reason)
		}
	}
	Expect(len(reasons)).To(BeNumerically(">=", len(markup)))
	return reasons
}

func plainName(i int) string { return fmt.Sprint("one-of-many-", i) }

// hostileName is one of the names that the API server takes and that somebody may stumble over: as
// long as can be, with many parts, or a word of HTML, of JavaScript or of addresses.
func hostileName(i int) string {
	n := fmt.Sprint(i)
	switch i % 5 {
	case 0:
		return n + strings.Repeat("x", 253-len(n))
	case 1:
		return n + strings.Repeat(".x", 120)
	case 2:
		return "constructor." + n
	case 3:
		return "javascript-alert-" + n + ".html"
	default:
		return "xn--80ak6aa92e." + n
	}
}
