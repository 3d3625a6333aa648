// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"

	"github.com/lapse-dev/lapse/test/operator"
)

var _ = Describe("Each page", func() {
	It("has nothing that axe finds, light and dark, and fits on the screen of a phone", func(ctx SpecContext) {
		asks(ctx, operator.NewUser(GinkgoTB(), plane, "ann", "oncall"), "looked-at", "admin", "CHG-83: look at me")
		asks(ctx, operator.NewUser(GinkgoTB(), plane, "ann", "oncall"), "held", "edit", "INC-84: hold me")
		bob := enrol("bob", "sre-leads", "oncall").browses()
		for _, page := range []string{"mine", "for-me", "ask", "now", "now?person=ann", "story?namespace=payments&name=looked-at", "story?namespace=payments&name=none"} {
			bob.open(page)
			bob.isForAll(page)
		}
		bob.looks("dark", 320)
		bob.open("for-me")
		bob.reads("CHG-83")
		bob.pictured("phone")
		bob.presses("Approve")
		bob.reads("What came of it")
		bob.isForAll("what came of an approval")
	}, SpecTimeout(3*time.Minute))
})

// isForAll holds the page against WCAG, and against how wide it may be, as each of them may see it.
func (b *browser) isForAll(page string) {
	GinkgoHelper()
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{320, 1000} {
			b.looks(scheme, width)
			what := fmt.Sprintf("%s, %s, %d wide", page, scheme, width)
			b.isAccessible(what)
			b.fits(what)
		}
	}
}
