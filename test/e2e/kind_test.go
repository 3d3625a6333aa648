// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

// Serial, since all requests go with their kind. Ordered, since the garbage collector takes some
// time to watch a kind again that came back, and must know it when it goes.
var _ = Describe("The kind of requests that is deleted", Serial, Ordered, func() {
	var ns string
	BeforeEach(func(ctx SpecContext) {
		ns = newNamespace(ctx)
		newPolicy(ctx, builders.Policy("p-"+ns).Allowing("reader").In(ns))
	})
	granted := func(ctx context.Context, name string) *v1alpha1.AccessRequest {
		GinkgoHelper()
		req := builders.Request(name).In(ns).ForClusterRole("reader").Lasting(time.Hour).Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		Eventually(func(g Gomega) { // informers that found no kind look again after up to 30 s
			g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(Succeed())
			g.Expect(req).To(haveReason(v1alpha1.ReasonGranted))
		}, time.Minute).WithContext(ctx).Should(Succeed())
		return req
	}
	ends := func(ctx context.Context, what string, within time.Duration) {
		GinkgoHelper()
		begun := time.Now()
		Eventually(func() int { return len(bindings(ctx, ns)) }, within).WithContext(ctx).Should(BeZero())
		Eventually(func() bool { return aliceReads(ctx, ns) }).WithContext(ctx).Should(BeFalse())
		AddReportEntry("gone", fmt.Sprintf("%s: access was gone after %s", what, time.Since(begun).Round(time.Millisecond)))
	}

	It("takes access along by garbage collection while no operator runs", func(ctx SpecContext) {
		m := startManager(ctx)
		first := granted(ctx, "first")
		Expect(m.Kill()).To(Succeed())
		Expect(admin.Delete(ctx, first)).To(Succeed())
		ends(ctx, "a request alone, which the garbage collector knows by then", time.Minute)
		m = startManager(ctx)
		granted(ctx, "held")
		Expect(m.Kill()).To(Succeed())
		deleteRequestKind(ctx)
		ends(ctx, "while no operator runs", time.Minute)
	}, SpecTimeout(5*time.Minute))

	It("takes access along while an operator runs, which goes on, and grants again when the kind is back", func(ctx SpecContext) {
		m := startManager(ctx)
		granted(ctx, "held")
		restore := deleteRequestKind(ctx)
		ends(ctx, "while an operator runs", 15*time.Second)
		restore(ctx)
		Expect(m.WaitReady(ctx)).To(Succeed(), "it neither ended nor forgot that admission is in force")
		granted(ctx, "again")
	}, SpecTimeout(5*time.Minute))
})

// deleteRequestKind deletes the CRD of requests, and returns what installs it again.
func deleteRequestKind(ctx context.Context) (restore func(context.Context)) {
	GinkgoHelper()
	kind := &unstructured.Unstructured{}
	kind.SetAPIVersion("apiextensions.k8s.io/v1")
	kind.SetKind("CustomResourceDefinition")
	kind.SetName("accessrequests.lapse.dev")
	restored := false
	restore = func(ctx context.Context) {
		GinkgoHelper()
		if restored {
			return
		}
		Eventually(func() error { return admin.Get(ctx, client.ObjectKeyFromObject(kind), kind.DeepCopy()) }, time.Minute).WithContext(ctx).
			Should(MatchError(apierrors.IsNotFound, "not found"))
		Expect(operator.Install(ctx, plane)).To(Succeed())
		restored = true
	}
	DeferCleanup(func(ctx SpecContext) { restore(ctx) })
	Expect(admin.Delete(ctx, kind)).To(Succeed())
	return restore
}
