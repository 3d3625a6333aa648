// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"net/http"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/test/operator"
)

var _ = Describe("Flow control", func() {
	// level of priority at which the API server answers a ServiceAccount of the operator.
	level := func(ctx context.Context, account, verb, path string) string {
		GinkgoHelper()
		config, err := plane.ServiceAccountConfig(ctx, operator.Namespace, account)
		Expect(err).NotTo(HaveOccurred())
		h, err := rest.HTTPClientFor(config)
		Expect(err).NotTo(HaveOccurred())
		req, err := http.NewRequestWithContext(ctx, verb, config.Host+path, http.NoBody)
		Expect(err).NotTo(HaveOccurred())
		res, err := h.Do(req)
		Expect(err).NotTo(HaveOccurred())
		Expect(res.Body.Close()).To(Succeed())
		levels := &flowcontrolv1.PriorityLevelConfigurationList{}
		Expect(admin.List(ctx, levels)).To(Succeed())
		for _, l := range levels.Items {
			if string(l.UID) == res.Header.Get(flowcontrolv1.ResponseHeaderMatchedPriorityLevelConfigurationUID) {
				return l.Name
			}
		}
		return ""
	}

	It("does not let what ends access wait behind other service accounts", func(ctx SpecContext) {
		const binding, lease = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings/none", "/apis/coordination.k8s.io/v1/namespaces/lapse-system/leases/none"
		Eventually(func() string { return level(ctx, operator.ServiceAccount, http.MethodDelete, binding) }).WithContext(ctx).Should(Equal("lapse-ending"))
		Expect(level(ctx, operator.ServiceAccount, http.MethodPut, binding)).To(Equal("lapse-ending"))
		Expect(level(ctx, reaperAccount, http.MethodDelete, binding)).To(Equal("lapse-ending"))
		Expect(level(ctx, reaperAccount, http.MethodGet, "/apis/rbac.authorization.k8s.io/v1/rolebindings")).To(Equal("lapse-ending"))
		Expect(level(ctx, operator.ServiceAccount, http.MethodPut, lease)).To(Equal("leader-election"))
		Expect(level(ctx, operator.ServiceAccount, http.MethodGet, "/apis/lapse.dev/v1alpha1/accessrequests")).To(Equal("workload-low"), "what grants waits its turn")
	})

	It("ships no flow schema that the API server does not use", func(ctx SpecContext) {
		Eventually(func(g Gomega) {
			schemas := &flowcontrolv1.FlowSchemaList{}
			g.Expect(admin.List(ctx, schemas, client.MatchingLabels{"app.kubernetes.io/part-of": "lapse"})).To(Succeed())
			g.Expect(schemas.Items).To(HaveLen(2))
			for _, s := range schemas.Items {
				g.Expect(s.Status.Conditions).To(ContainElement(And(HaveField("Type", flowcontrolv1.FlowSchemaConditionType(flowcontrolv1.FlowSchemaConditionDangling)), HaveField("Status", flowcontrolv1.ConditionFalse))), s.Name)
			}
		}).WithContext(ctx).Should(Succeed())
	})
})
