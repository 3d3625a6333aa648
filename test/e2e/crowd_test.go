// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/grant"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

// atOnce is more than are looked at in one moment.
const atOnce = 16

var _ = Describe("Beside somebody who makes many requests", func() {
	var ns string

	BeforeEach(func(ctx SpecContext) {
		ns = newNamespace(ctx)
		newPolicy(ctx, builders.Policy("p-"+ns).Allowing("reader").In(ns))
		newPolicy(ctx, builders.Policy("q-"+ns).Allowing("edit").In(ns).ApprovedBy(builders.Group("leads")))
	})

	It("whoever makes one is answered before them", func(ctx SpecContext) {
		const many = 600
		mallory := operator.NewUser(GinkgoTB(), plane, "mallory", "askers")
		m := startManager(ctx)
		// They are there before it can look at one.
		Expect(m.Signal(syscall.SIGSTOP)).To(Succeed())
		askMany(ctx, mallory, many, func(i int) builders.RequestBuilder { return refusable(ns, i) })
		asked := builders.Request("asked").In(ns).ForClusterRole("reader").Lasting(time.Hour).Build()
		Expect(alice.Create(ctx, asked)).To(Succeed())
		Expect(m.Signal(syscall.SIGCONT)).To(Succeed())
		eventually(ctx, asked, v1alpha1.ReasonGranted)
		undecided := inState(ctx, ns, "")
		Expect(undecided).To(BeNumerically(">", many/2), "most of the others wait when alice has her answer")
		By("keeping no more of what was refused than may stay", func() {
			Eventually(func(ctx context.Context) int { return inState(ctx, ns, "") }, time.Minute).WithContext(ctx).Should(BeZero())
			// Those that were refused in the same moment did not know of each other.
			Eventually(func(ctx context.Context) int { return inState(ctx, ns, v1alpha1.StateDenied) }).WithContext(ctx).
				Should(And(BeNumerically(">=", grant.MaxRefused), BeNumerically("<=", grant.MaxRefused+atOnce)))
		})
	}, SpecTimeout(2*time.Minute))

	It("nobody has more requests waiting than may", func(ctx SpecContext) {
		startManager(ctx)
		askMany(ctx, alice, grant.MaxWaiting+20, func(i int) builders.RequestBuilder {
			return builders.Request(fmt.Sprintf("w-%03d", i)).In(ns).ForClusterRole("edit").Lasting(time.Hour)
		})
		Eventually(func(ctx context.Context) int { return inState(ctx, ns, "") }).WithContext(ctx).Should(BeZero())
		// Those that were looked at in the same moment did not know of each other.
		Expect(inState(ctx, ns, v1alpha1.StatePending)).
			To(And(BeNumerically(">=", grant.MaxWaiting), BeNumerically("<=", grant.MaxWaiting+atOnce)))
		one := builders.Request("one-too-many").In(ns).ForClusterRole("edit").Lasting(time.Hour).Build()
		Expect(alice.Create(ctx, one)).To(Succeed())
		eventually(ctx, one, v1alpha1.ReasonDenied)
		Expect(meta.FindStatusCondition(one.Status.Conditions, v1alpha1.ConditionReady).Message).
			To(ContainSubstring("requests of this requester wait already"))
		By("answering what need not wait", func() {
			asked := builders.Request("asked").In(ns).ForClusterRole("reader").Lasting(time.Hour).Build()
			Expect(alice.Create(ctx, asked)).To(Succeed())
			eventually(ctx, asked, v1alpha1.ReasonGranted)
		})
	}, SpecTimeout(2*time.Minute))

	It("whoever was refused can have that forgotten, and nobody else can", func(ctx SpecContext) {
		startManager(ctx)
		mallory := operator.NewUser(GinkgoTB(), plane, "mallory", "askers")
		kept, gone := refusable(ns, 1).Build(), refusable(ns, 2).Build()
		for _, req := range []*v1alpha1.AccessRequest{kept, gone} {
			Expect(alice.Create(ctx, req)).To(Succeed())
			eventually(ctx, req, v1alpha1.ReasonNoMatchingPolicy)
		}
		Expect(mallory.Create(ctx, builders.Decision("by-mallory", kept, v1alpha1.VerdictRevoke))).To(Succeed())
		Expect(alice.Create(ctx, builders.Decision("by-alice", gone, v1alpha1.VerdictRevoke))).To(Succeed())
		Eventually(func() bool { return apierrors.IsNotFound(admin.Get(ctx, client.ObjectKeyFromObject(gone), gone)) }).
			WithContext(ctx).Should(BeTrue())
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(kept), kept)).To(Succeed())
	})
})

// refusable is a request that no policy is for.
func refusable(ns string, i int) builders.RequestBuilder {
	return builders.Request(fmt.Sprintf("r-%03d", i)).In(ns).ForClusterRole("admin").Lasting(time.Hour)
}
