// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/test/builders"
)

// kube-apiserver authorizes a request by its header, and then waits for its body.
var _ = Describe("A write whose body comes after the end of the grant", func() {
	It("makes nothing that lasts", func(ctx SpecContext) {
		startManager(ctx)
		for what, write := range map[string][2]string{
			"create serviceaccounts/token": {
				"serviceaccounts/app/token",
				`{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"audiences":[],"expirationSeconds":86400}}`,
			},
			"create serviceaccounts": {"serviceaccounts", `{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"mine"}}`},
			"create secrets": {"secrets", `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"forever",` +
				`"annotations":{"kubernetes.io/service-account.name":"app"}},"type":"kubernetes.io/service-account-token"}`},
			"change secrets": {"secrets/app-token", `{"metadata":{"annotations":{"kubernetes.io/service-account.name":"other"}}}`},
		} {
			t := newTenant(ctx)
			req := t.grant(ctx, builders.User("alice"))
			mayRead := func() error { return alice.List(ctx, &corev1.ConfigMapList{}, client.InNamespace(t.ns)) }
			Eventually(mayRead).WithContext(ctx).Should(Succeed())
			begun := t.begin(ctx, write[0])
			Expect(admin.Delete(ctx, req)).To(Succeed())
			Eventually(func() int { return len(bindings(ctx, t.ns)) }).WithContext(ctx).Should(BeZero())
			Eventually(mayRead).WithContext(ctx).Should(MatchError(apierrors.IsForbidden, "forbidden"))
			status, answer := begun(write[1])
			Expect(status).To(Equal(http.StatusForbidden), answer)
			Expect(answer).To(ContainSubstring("denied request: you were allowed to "+what+" in namespace "+fmt.Sprintf(`\"%s\"`, t.ns)+
				" when this request began, and are no more"), answer)
		}
	}, SpecTimeout(time.Minute))
})

// begin sends the header of a POST or PATCH as alice, and returns what sends the body.
func (t *tenant) begin(ctx context.Context, path string) func(body string) (status int, answer string) {
	GinkgoHelper()
	httpClient, err := rest.HTTPClientFor(asAlice)
	Expect(err).NotTo(HaveOccurred())
	reader, writer := io.Pipe()
	url := strings.TrimSuffix(asAlice.Host, "/") + "/api/v1/namespaces/" + t.ns + "/" + path
	method, kind := http.MethodPost, "application/json"
	if strings.HasPrefix(path, "secrets/") {
		method, kind = http.MethodPatch, "application/merge-patch+json"
	}
	req, err := http.NewRequestWithContext(ctx, method, url, reader)
	Expect(err).NotTo(HaveOccurred())
	req.Header.Set("Content-Type", kind)
	answered := make(chan *http.Response, 1)
	go func() {
		defer GinkgoRecover()
		res, err := httpClient.Do(req)
		Expect(err).NotTo(HaveOccurred())
		answered <- res
	}()
	// Some of the body: it is on its way, and the rest is held back.
	_, err = io.WriteString(writer, strings.Repeat(" ", 8))
	Expect(err).NotTo(HaveOccurred())
	return func(body string) (int, string) {
		GinkgoHelper()
		_, err := io.WriteString(writer, body)
		Expect(err).NotTo(HaveOccurred())
		Expect(writer.Close()).To(Succeed())
		var res *http.Response
		Eventually(answered).WithContext(ctx).Should(Receive(&res))
		answer, err := io.ReadAll(res.Body)
		Expect(err).NotTo(HaveOccurred())
		Expect(res.Body.Close()).To(Succeed())
		return res.StatusCode, string(answer)
	}
}
