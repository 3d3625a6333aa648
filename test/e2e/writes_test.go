// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	. "github.com/onsi/gomega/gstruct"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

var _ = Describe("What the operator asks, by the API server's audit log", func() {
	var (
		ns   string
		mark controlplane.AuditMark
	)
	BeforeEach(func(ctx SpecContext) {
		ns = newNamespace(ctx)
		newPolicy(ctx, builders.Policy("p-"+ns).Allowing("reader").In(ns))
		startManager(ctx)
		var err error
		mark, err = plane.AuditMark()
		Expect(err).NotTo(HaveOccurred())
	})

	// writes lists those in the namespace, Events apart.
	writes := func() []string {
		GinkgoHelper()
		events, err := plane.Writes(mark, operator.Username)
		Expect(err).NotTo(HaveOccurred())
		var out []string
		for _, e := range events {
			if e.ObjectRef.Namespace != ns || e.ObjectRef.Resource == "events" {
				continue
			}
			out = append(out, e.Verb+" "+e.ObjectRef.Resource+"/"+e.ObjectRef.Subresource)
		}
		return out
	}

	// reads counts those of what nobody else asks about, by verb and resource: other requests
	// have the same role, and are judged beside this one.
	reads := func() map[string]int {
		GinkgoHelper()
		events, err := plane.AuditEvents(mark)
		Expect(err).NotTo(HaveOccurred())
		out := map[string]int{}
		for _, e := range events {
			if e.User.Username != operator.Username || e.ObjectRef == nil || !slices.Contains([]string{"get", "list"}, e.Verb) {
				continue
			}
			if e.ObjectRef.Namespace == ns || e.ObjectRef.Name == ns || e.ObjectRef.Name == "p-"+ns {
				out[e.Verb+" "+e.ObjectRef.Resource]++
			}
		}
		return out
	}

	It("is five reads, and that of the role, and four writes for a life that needs no approval", func(ctx SpecContext) {
		req := builders.Request("life").In(ns).ForClusterRole("reader").Lasting(10 * time.Second).Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		eventually(ctx, req, v1alpha1.ReasonExpired)
		Consistently(writes, "3s").WithContext(ctx).Should(Equal([]string{
			"create rolebindings/", "patch accessrequests/status", "delete rolebindings/", "patch accessrequests/status",
		}))
		Expect(reads()).To(MatchAllKeys(Keys{
			"get accessrequests": Equal(1), "get accesspolicies": Equal(1), "get namespaces": Equal(1),
			// Before it is made, when it is gone, and once more if its watch is behind that of its request.
			"get rolebindings": BeElementOf(2, 3),
		}))
	}, SpecTimeout(time.Minute))

	It("is one write for a refusal, and then silence", func(ctx SpecContext) {
		req := builders.Request("refused").In(ns).ForClusterRole("writer").Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		eventually(ctx, req, v1alpha1.ReasonNoMatchingPolicy)
		Consistently(writes, "5s").WithContext(ctx).Should(Equal([]string{"patch accessrequests/status"}))
	}, SpecTimeout(time.Minute))
})
