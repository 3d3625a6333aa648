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
	// schema and level by which the API server answers a ServiceAccount of the operator.
	flow := func(ctx context.Context, account, verb, path string) (schema, level string) {
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
		schemas := &flowcontrolv1.FlowSchemaList{}
		Expect(admin.List(ctx, schemas)).To(Succeed())
		for _, s := range schemas.Items {
			if string(s.UID) == res.Header.Get(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID) {
				return s.Name, s.Spec.PriorityLevelConfiguration.Name
			}
		}
		return "", ""
	}

	It("answers what ends access at a level of its own, and the lease with those of Kubernetes", func(ctx SpecContext) {
		const binding, lease = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings/none",
			"/apis/coordination.k8s.io/v1/namespaces/lapse-system/leases/none"
		is := func(account, verb, path, schema, level string) {
			GinkgoHelper()
			Eventually(func() []string {
				s, l := flow(ctx, account, verb, path)
				return []string{s, l}
			}).WithContext(ctx).Should(Equal([]string{schema, level}))
		}
		is(operator.ServiceAccount, http.MethodDelete, binding, "lapse-ending", "lapse-ending")
		is(operator.ServiceAccount, http.MethodPut, binding, "lapse-ending", "lapse-ending")
		is(reaperAccount, http.MethodDelete, binding, "lapse-ending", "lapse-ending")
		is(reaperAccount, http.MethodGet, "/apis/rbac.authorization.k8s.io/v1/rolebindings", "lapse-ending", "lapse-ending")
		is(operator.ServiceAccount, http.MethodPut, lease, "lapse-leader-election", "leader-election")
		is(operator.ServiceAccount, http.MethodGet, "/apis/lapse.dev/v1alpha1/accessrequests", "service-accounts", "workload-low")
	})

	It("ships no flow schema that the API server does not use", func(ctx SpecContext) {
		Eventually(func(g Gomega) {
			schemas := &flowcontrolv1.FlowSchemaList{}
			g.Expect(admin.List(ctx, schemas, client.MatchingLabels{"app.kubernetes.io/part-of": "lapse"})).To(Succeed())
			g.Expect(schemas.Items).To(HaveLen(2))
			for _, s := range schemas.Items {
				g.Expect(s.Status.Conditions).
					To(ContainElement(And(HaveField("Type", flowcontrolv1.FlowSchemaConditionType(flowcontrolv1.FlowSchemaConditionDangling)),
						HaveField("Status", flowcontrolv1.ConditionFalse))), s.Name)
			}
		}).WithContext(ctx).Should(Succeed())
	})
})
