// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/test/operator"
)

// answerNothing has a webhook swallow the deletions of RoleBindings in a namespace; they
// pass when it has not answered for so long.
func answerNothing(ctx context.Context, c client.Client, namespace string, timeout time.Duration) {
	GinkgoHelper()
	deletions := operator.Foreign{
		Namespace: namespace, Group: rbacv1.GroupName, Resource: "rolebindings",
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Delete},
	}
	remove, err := deletions.Swallow(ctx, c, timeout)
	DeferCleanup(func(ctx SpecContext) { Expect(remove(ctx)).To(Succeed()) }, NodeTimeout(20*time.Second))
	Expect(err).NotTo(HaveOccurred())
	probe := managed(namespace, "lapse-probe-00000000", time.Now().Add(time.Hour))
	Expect(c.Create(ctx, probe)).To(Succeed())
	Eventually(func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		defer cancel()
		return c.Delete(ctx, probe, client.DryRunAll)
	}, "20s", "100ms").WithContext(ctx).Should(MatchError(context.DeadlineExceeded))
	Expect(c.Delete(ctx, probe)).To(Succeed())
}
