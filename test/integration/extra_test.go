// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

// aliceWith is alice, of whom an authenticator says that besides: the admin impersonates her.
func aliceWith(extra map[string][]string) client.Client {
	GinkgoHelper()
	config := plane.AdminConfig()
	config.Impersonate = rest.ImpersonationConfig{UserName: "alice", Groups: []string{"askers", "system:authenticated"}, Extra: extra}
	return clientOf(config)
}

var _ = Describe("The extra of a requester", func() {
	const tier, kind = "example.com/tier", "example.com/kind"
	said := map[string][]string{tier: {"gold", "eu"}, kind: {"contractor"}}
	kept := map[string]v1alpha1.ExtraValue{tier: {"gold", "eu"}, kind: {"contractor"}}
	var ns string
	BeforeEach(func(ctx SpecContext) { ns = newNamespace(ctx) })

	// byHand is a request of alice, who names herself with that extra.
	byHand := func(extra map[string]v1alpha1.ExtraValue) *v1alpha1.AccessRequest {
		req := builders.Request("by-hand").In(ns).By("alice", "askers", "system:authenticated").To(builders.User("alice")).
			ForClusterRole("reader").Build()
		req.Spec.Requester.Extra = extra
		return req
	}
	// sized has one key of that length, with so many values of that length, and another one.
	sized := func(key, count, value int) map[string][]string {
		values := make([]string, count)
		for i := range values {
			values[i] = strings.Repeat("v", value)
		}
		const domain = "example.com/"
		return map[string][]string{tier: {"gold"}, domain + strings.Repeat("k", key-len(domain)): values}
	}
	many := func(n int) map[string][]string {
		out := map[string][]string{}
		for i := range n {
			out[fmt.Sprint("example.com/key-", i)] = []string{"x"}
		}
		return out
	}

	It("is kept as it was authenticated, and conditions read it", func(ctx SpecContext) {
		h := newHarness()
		newPolicy(ctx, policyFor(ns).If("'gold' in request.spec.requester.extra['"+tier+"']", "for gold only"))
		req := requestIn(ns)
		h.granted(ctx, aliceWith(said), req)
		Expect(req.Spec.Requester.Extra).To(Equal(kept))

		silver := builders.Request("silver").In(ns).ForClusterRole("reader").Build()
		Expect(aliceWith(map[string][]string{tier: {"silver"}}).Create(ctx, silver)).To(Succeed())
		h.settle(ctx, silver)
		Expect(silver).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonDenied))
		Expect(message(silver)).To(ContainSubstring("for gold only"))
	})

	DescribeTable("is kept up to its bounds", func(ctx SpecContext, extra map[string][]string) {
		req := requestIn(ns)
		Expect(aliceWith(extra).Create(ctx, req)).To(Succeed())
		Expect(req.Spec.Requester.Extra).To(HaveLen(len(extra)))
	},
		Entry("of keys", many(32)),
		Entry("of a key, of values and of their length", sized(253, 32, 256)),
	)

	DescribeTable("is left out as a whole where a part does not fit, and nobody is kept from asking",
		func(ctx SpecContext, extra map[string][]string) {
			req := requestIn(ns)
			Expect(aliceWith(extra).Create(ctx, req)).To(Succeed())
			Expect(req.Spec.Requester.Extra).To(BeEmpty())
		},
		Entry("a key too many", many(33)),
		Entry("a key too long", sized(254, 1, 1)),
		Entry("a value too many", sized(20, 33, 1)),
		Entry("a value too long, such as a token", sized(20, 1, 257)),
		Entry("a value with a control character", map[string][]string{tier: {"go\tld"}}),
	)

	It("may be written by hand if it is exactly true", func(ctx SpecContext) {
		req := byHand(kept)
		Expect(aliceWith(said).Create(ctx, req)).To(Succeed())
		Expect(req.Spec.Requester.Extra).To(Equal(kept))
	})

	It("may be left out by hand, and then no condition that reads it lets anybody through", func(ctx SpecContext) {
		h := newHarness()
		newPolicy(ctx, policyFor(ns).If("!('"+kind+"' in request.spec.requester.extra)", "not for contractors"))
		req := byHand(nil)
		Expect(aliceWith(said).Create(ctx, req)).To(Succeed())
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonDenied))
		Expect(message(req)).To(ContainSubstring("not for contractors (the condition failed: no such key: extra)"))
	})

	DescribeTable("cannot be made up, changed or cut", func(ctx SpecContext, extra map[string]v1alpha1.ExtraValue) {
		Expect(aliceWith(said).Create(ctx, byHand(extra), client.DryRunAll)).
			To(MatchError(ContainSubstring("spec.requester.extra must be left out, or be all of what kubectl auth whoami -o yaml prints")))
	},
		Entry("a key more", map[string]v1alpha1.ExtraValue{tier: {"gold", "eu"}, kind: {"contractor"}, "example.com/admin": {"yes"}}),
		Entry("a key less", map[string]v1alpha1.ExtraValue{tier: {"gold", "eu"}}),
		Entry("another key", map[string]v1alpha1.ExtraValue{tier: {"gold", "eu"}, "example.com/admin": {"contractor"}}),
		Entry("another value", map[string]v1alpha1.ExtraValue{tier: {"gold", "eu"}, kind: {"employee"}}),
		Entry("a value more", map[string]v1alpha1.ExtraValue{tier: {"gold", "eu", "us"}, kind: {"contractor"}}),
		Entry("a value less", map[string]v1alpha1.ExtraValue{tier: {"gold"}, kind: {"contractor"}}),
		Entry("no values", map[string]v1alpha1.ExtraValue{tier: {"gold", "eu"}, kind: {}}),
	)

	It("cannot be had by whoever has none", func(ctx SpecContext) {
		Expect(aliceWith(nil).Create(ctx, byHand(kept), client.DryRunAll)).
			To(MatchError(ContainSubstring("spec.requester.extra must be left out")))
	})

	DescribeTable("is refused by the schema where it is larger, though true",
		func(ctx SpecContext, extra map[string][]string, refusal string) {
			larger := map[string]v1alpha1.ExtraValue{}
			for key, values := range extra {
				larger[key] = values
			}
			Expect(aliceWith(extra).Create(ctx, byHand(larger), client.DryRunAll)).To(MatchError(ContainSubstring(refusal)))
		},
		Entry("a key too many", many(33), "spec.requester.extra"),
		Entry("a key too long", sized(254, 1, 1), "a key of extra must be at most 253 characters, without control characters"),
		Entry("a value too many", sized(20, 33, 1), "spec.requester.extra"),
		Entry("a value too long", sized(20, 1, 257), "spec.requester.extra"),
	)

	It("is not that of a reviewer", func(ctx SpecContext) {
		req := requestIn(ns)
		Expect(aliceWith(said).Create(ctx, req)).To(Succeed())
		d := builders.Decision("decision", req, v1alpha1.VerdictRevoke)
		d.Spec.Reviewer = &v1alpha1.Identity{Username: "alice", Groups: []string{"askers", "system:authenticated"}, Extra: kept}
		Expect(aliceWith(said).Create(ctx, d, client.DryRunAll)).
			To(MatchError(ContainSubstring("extra is kept of who asks alone; leave it out")))
		d = builders.Decision("decision", req, v1alpha1.VerdictRevoke)
		Expect(aliceWith(said).Create(ctx, d)).To(Succeed())
		Expect(d.Spec.Reviewer.Extra).To(BeEmpty())
	})
})
