// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// answerNothing has a webhook swallow the deletions of RoleBindings in a namespace; they
// pass when it has not answered for so long.
func answerNothing(ctx context.Context, c client.Client, namespace string, timeout time.Duration) {
	GinkgoHelper()
	release := make(chan struct{})
	hook := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	DeferCleanup(hook.Close)
	DeferCleanup(func() { close(release) })
	config := &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "silent-"},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "silent.example.com", AdmissionReviewVersions: []string{"v1"},
			SideEffects: new(admissionregistrationv1.SideEffectClassNone), FailurePolicy: new(admissionregistrationv1.Ignore),
			TimeoutSeconds:    new(int32(timeout.Seconds())),
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}},
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				URL: new(hook.URL), CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.Certificate().Raw}),
			},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Delete},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{rbacv1.GroupName}, APIVersions: []string{"v1"}, Resources: []string{"rolebindings"}},
			}},
		}},
	}
	Expect(c.Create(ctx, config)).To(Succeed())
	DeferCleanup(func(ctx SpecContext) { Expect(c.Delete(ctx, config)).To(Succeed()) }, NodeTimeout(10*time.Second))
	probe := managed(namespace, "lapse-probe-00000000", time.Now().Add(time.Hour))
	Expect(c.Create(ctx, probe)).To(Succeed())
	Eventually(func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		defer cancel()
		return c.Delete(ctx, probe, client.DryRunAll)
	}, "20s", "100ms").WithContext(ctx).Should(MatchError(context.DeadlineExceeded))
	Expect(c.Delete(ctx, probe)).To(Succeed())
}
