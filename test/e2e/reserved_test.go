// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

var _ = Describe("A namespace", func() {
	DescribeTable("that is reserved gets no grant, whatever a policy says, and any other does",
		func(ctx SpecContext, args []string, refused map[string]string, granted ...string) {
			Expect(client.IgnoreAlreadyExists(admin.Create(ctx, builders.Namespace("vault-1")))).To(Succeed())
			newPolicy(ctx, builders.Policy("everywhere").Allowing("reader").In("kube-system", "kube-public", "vault-1", operator.Namespace))
			startManager(ctx, args...)
			ask := func(ns string) *v1alpha1.AccessRequest {
				req := builders.Request("reserved").In(ns).ForClusterRole("reader").Lasting(time.Hour).Build()
				Expect(alice.Create(ctx, req)).To(Succeed())
				DeferCleanup(func(ctx SpecContext) { Expect(admin.Delete(ctx, req)).To(Succeed()) })
				return req
			}
			for ns, by := range refused {
				req := ask(ns)
				eventually(ctx, req, v1alpha1.ReasonDenied)
				Expect(req.Status.Conditions[0].Message).
					To(ContainSubstring(fmt.Sprintf("namespace %q is reserved by the operator (%q), whatever policies say", ns, by)))
				Expect(bindings(ctx, ns)).To(BeEmpty())
			}
			for _, ns := range granted {
				eventually(ctx, ask(ns), v1alpha1.ReasonGranted)
			}
		},
		Entry("by default: kube-* and the operator's own", SpecTimeout(time.Minute), []string{},
			map[string]string{"kube-system": "kube-*", "kube-public": "kube-*", operator.Namespace: operator.Namespace}, "vault-1"),
		Entry("by a flag that opens some and closes others", SpecTimeout(time.Minute), []string{"--reserved-namespaces=kube-system,vault-*"},
			map[string]string{"kube-system": "kube-system", "vault-1": "vault-*", operator.Namespace: operator.Namespace}, "kube-public"),
		Entry("by a flag that opens all but the operator's own", SpecTimeout(time.Minute), []string{"--reserved-namespaces="},
			map[string]string{operator.Namespace: operator.Namespace}, "kube-system", "kube-public", "vault-1"),
	)
})
