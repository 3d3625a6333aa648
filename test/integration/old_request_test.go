// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

// Serial, since it changes the schema for all.
var _ = Describe("A request that an older schema let in without a subject", Serial, func() {
	It("is granted, recorded and ended all the same", func(ctx SpecContext) {
		h, ns := newHarness(), newNamespace(ctx)
		newPolicy(ctx, policyFor(ns))
		config, err := plane.User("alice", "askers")
		Expect(err).NotTo(HaveOccurred())
		raw, err := operator.RawClient(config)
		Expect(err).NotTo(HaveOccurred())
		req := requestIn(ns)
		req.Spec.Requester = builders.Request("").By("alice", "askers", "system:authenticated").Build().Spec.Requester

		restore := dropRule(ctx, "accessrequests.lapse.dev", "subject is missing")
		Eventually(func() error { return raw.Create(ctx, req.DeepCopy(), client.DryRunAll) }).WithContext(ctx).Should(Succeed())
		Expect(raw.Create(ctx, req)).To(Succeed())
		Expect(req.Spec.Subject == nil).To(Equal(!stamps))
		restore(ctx)
		if !stamps {
			unnamed := builders.Request("unnamed").In(ns).By("alice", "askers", "system:authenticated").Build()
			Eventually(func() error { return raw.Create(ctx, unnamed.DeepCopy(), client.DryRunAll) }).WithContext(ctx).
				Should(MatchError(ContainSubstring("subject is missing")))
		}

		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))
		h.clock.SetTime(req.Status.Grant.ExpiresAt.Time)
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonExpired))
		Expect(bindingOf(ctx, req)).To(BeNil())
	})
})

// dropRule takes a rule out of the schema of a kind.
func dropRule(ctx context.Context, kind, message string) (restore func(context.Context)) {
	GinkgoHelper()
	crd := &unstructured.Unstructured{}
	crd.SetAPIVersion("apiextensions.k8s.io/v1")
	crd.SetKind("CustomResourceDefinition")
	Expect(admin.Get(ctx, client.ObjectKey{Name: kind}, crd)).To(Succeed())
	changed := crd.DeepCopy()
	versions, _, err := unstructured.NestedSlice(changed.Object, "spec", "versions")
	Expect(err).NotTo(HaveOccurred())
	path := []string{"schema", "openAPIV3Schema", "properties", "spec", "x-kubernetes-validations"}
	rules, _, err := unstructured.NestedSlice(versions[0].(map[string]any), path...)
	Expect(err).NotTo(HaveOccurred())
	kept := make([]any, 0, len(rules))
	for _, rule := range rules {
		if text, _, _ := unstructured.NestedString(rule.(map[string]any), "message"); !strings.Contains(text, message) {
			kept = append(kept, rule)
		}
	}
	Expect(kept).To(HaveLen(len(rules) - 1))
	Expect(unstructured.SetNestedSlice(versions[0].(map[string]any), kept, path...)).To(Succeed())
	Expect(unstructured.SetNestedSlice(changed.Object, versions, "spec", "versions")).To(Succeed())
	Expect(admin.Update(ctx, changed)).To(Succeed())
	restore = func(ctx context.Context) {
		GinkgoHelper()
		now := crd.DeepCopy()
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(crd), now)).To(Succeed())
		now.Object["spec"] = crd.DeepCopy().Object["spec"]
		Expect(admin.Update(ctx, now)).To(Succeed())
	}
	DeferCleanup(func(ctx SpecContext) { restore(ctx) })
	return restore
}
