// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

var _ = Describe("Metrics", func() {
	It("are for those who hold lapse-metrics-reader, by a token that the API server knows", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		address, err := operator.FreeAddress()
		Expect(err).NotTo(HaveOccurred())
		token := map[string]string{}
		for _, name := range []string{"scraper", "stranger"} {
			create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}})
			config, err := plane.ServiceAccountConfig(ctx, ns, name)
			Expect(err).NotTo(HaveOccurred())
			token[name] = config.BearerToken
		}
		create(ctx, builders.ClusterBinding("scraper-"+ns, "lapse-metrics-reader", builders.ServiceAccount(ns, "scraper")))
		startManager(ctx, "--metrics-bind-address="+address)

		status, body := scrape(ctx, address, "bearer "+token["scraper"])
		Expect(status).To(Equal(http.StatusOK), body)
		Expect(body).To(ContainSubstring("lapse_admission_enforced"))
		status, body = scrape(ctx, address, "Bearer "+token["stranger"])
		Expect(status).To(Equal(http.StatusForbidden), body)
		Expect(body).To(HaveSuffix("may not get /metrics; ClusterRole lapse-metrics-reader allows it\n"))
		status, body = scrape(ctx, address, "Bearer "+token["scraper"]+"x")
		Expect(status).To(Equal(http.StatusUnauthorized), body)
		Expect(body).To(HavePrefix("the API server does not know this token"))
	}, SpecTimeout(time.Minute))

	It("are refused to all while the operator may not ask whose token it is, and access is given and ends", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		newPolicy(ctx, builders.Policy("p-"+ns).Allowing("reader").In(ns))
		address, err := operator.FreeAddress()
		Expect(err).NotTo(HaveOccurred())
		create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "scraper"}},
			builders.ClusterBinding("scraper-"+ns, "lapse-metrics-reader", builders.ServiceAccount(ns, "scraper")))
		config, err := plane.ServiceAccountConfig(ctx, ns, "scraper")
		Expect(err).NotTo(HaveOccurred())
		startManager(ctx, "--metrics-bind-address="+address)
		var body string
		status := func() (status int) {
			GinkgoHelper()
			status, body = scrape(ctx, address, "Bearer "+config.BearerToken)
			return status
		}
		Expect(status()).To(Equal(http.StatusOK), "a token that passed is looked at as often as it comes")

		restore := withoutRule(ctx, "tokenreviews")
		Eventually(status).WithContext(ctx).Should(Equal(http.StatusServiceUnavailable))
		Expect(body).To(HavePrefix("the API server could not be asked whose token this is"))
		req := builders.Request("unseen").In(ns).ForClusterRole("reader").Lasting(10 * time.Second).Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		eventually(ctx, req, v1alpha1.ReasonGranted)
		eventually(ctx, req, v1alpha1.ReasonExpired)
		Expect(bindings(ctx, ns)).To(BeEmpty())
		Expect(status()).To(Equal(http.StatusServiceUnavailable), body)

		restore(ctx)
		Eventually(status).WithContext(ctx).Should(Equal(http.StatusOK))
	}, SpecTimeout(time.Minute))
})

// trusting takes any certificate, since the operator makes its own.
var trusting = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // so

// scrape reads the metrics at an address.
func scrape(ctx context.Context, address, authorization string) (status int, body string) {
	GinkgoHelper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+"/metrics", http.NoBody)
	Expect(err).NotTo(HaveOccurred())
	req.Header.Set("Authorization", authorization)
	res, err := trusting.Do(req)
	Expect(err).NotTo(HaveOccurred())
	answer, err := io.ReadAll(res.Body)
	Expect(err).NotTo(HaveOccurred())
	Expect(res.Body.Close()).To(Succeed())
	return res.StatusCode, string(answer)
}
