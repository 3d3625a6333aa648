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
			for _, scheme := range []string{"light", "dark"} {
				for _, width := range []int64{320, 1000} {
					bob.looks(scheme, width)
					what := fmt.Sprintf("%s, %s, %d wide", page, scheme, width)
					bob.isAccessible(what)
					bob.fits(what)
				}
			}
		}
		bob.looks("dark", 320)
		bob.open("for-me")
		bob.reads("CHG-83")
		bob.pictured("phone")
	}, SpecTimeout(3*time.Minute))
})
