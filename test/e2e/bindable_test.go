// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

var _ = Describe("A role that the operator may not bind", func() {
	It("is bound soon after an admin allows it with a labelled ClusterRole", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		create(ctx, builders.ClusterRole("late", builders.Rule("", "configmaps", "get")))
		newPolicy(ctx, builders.Policy("p-"+ns).Allowing("late").In(ns))
		startManager(ctx)
		req := builders.Request("late").In(ns).ForClusterRole("late").Lasting(time.Hour).Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		eventually(ctx, req, v1alpha1.ReasonBindForbidden)
		Expect(bindings(ctx, ns)).To(BeEmpty())

		create(ctx, builders.Bindable("clusterroles", "late"))
		start := time.Now()
		eventually(ctx, req, v1alpha1.ReasonGranted)
		Expect(time.Since(start)).To(BeNumerically("<", 5*time.Second))
	}, SpecTimeout(time.Minute))
})
