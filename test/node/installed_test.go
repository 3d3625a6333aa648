// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/test/operator"
)

var _ = Describe("What ships, once it is applied,", func() {
	BeforeEach(func(ctx SpecContext) { ready(ctx) }, NodeTimeout(2*time.Minute))

	It("grants access within two minutes", func() {
		AddReportEntry("from kubectl apply", fmt.Sprintf("two replicas ready after %s, the first grant after %s",
			firstReady.Round(time.Second/10), firstGrant.Round(time.Second/10)))
		Expect(firstGrant).To(BeNumerically("<", 2*time.Minute))
	})

	It("runs two replicas where no Pods but restricted ones are let in", func(ctx SpecContext) {
		Expect(managers(ctx)).To(HaveLen(replicas))
		careless := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: operator.Namespace, Name: "careless"},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "localhost/pause:1"}}},
		}
		err := admin.Create(ctx, careless, client.DryRunAll)
		Expect(apierrors.IsForbidden(err)).To(BeTrue(), "the answer is %v", err)
		Expect(err).To(MatchError(ContainSubstring(`violates PodSecurity "restricted`)))
	}, SpecTimeout(time.Minute))

	It("is well, as docs/install.md has an admin look", func(ctx SpecContext) {
		folder := GinkgoT().TempDir()
		env, err := operator.Home(plane, folder, plane.AdminConfig())
		Expect(err).NotTo(HaveOccurred())
		Eventually(func(g Gomega) { // the conditions of a policy may be a moment behind
			typed, err := operator.Type(ctx, folder, env,
				"kubectl rollout status -n lapse-system deployment/lapse-manager --timeout=3m; kubectl lapse doctor")
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(typed.Code).To(BeZero(), typed.Stdout+typed.Stderr)
			g.Expect(typed.Stdout).To(MatchRegexp(`successfully rolled out\n(ok +\S.*\n)+- +audit log .* not seen from here`))
		}).WithContext(ctx).Should(Succeed())
	}, SpecTimeout(time.Minute))

	It("has a reaper that runs by itself", func(ctx SpecContext) {
		schedule := func(when string) {
			kubectl(ctx, "patch", "cronjob/lapse-reaper", "-n", operator.Namespace, "--patch", `{"spec": {"schedule": "`+when+`"}}`)
		}
		schedule("* * * * *") // sooner than it ships
		var done []batchv1.Job
		Eventually(func(g Gomega) {
			jobs := &batchv1.JobList{}
			g.Expect(admin.List(ctx, jobs, client.InNamespace(operator.Namespace))).To(Succeed())
			g.Expect(jobs.Items).To(ContainElement(HaveField("Status.Succeeded", BeNumerically("==", 1)), &done))
		}).WithContext(ctx).Should(Succeed())
		schedule("*/5 * * * *")
		Expect(kubectl(ctx, "logs", "job/"+done[0].Name, "-n", operator.Namespace)).To(ContainSubstring("0 past their end, 0 of them failed"))
	}, SpecTimeout(4*time.Minute))

	It("is scraped by whoever holds the role for that, and by nobody else", func(ctx SpecContext) {
		Expect(operator.Apply(ctx, plane, plane.AdminConfig(), "-f", "config/monitoring/scraper.yaml")).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { // no removal of Lapse deletes it
			kubectl(ctx, "delete", "clusterrolebinding/lapse-scraper")
		}, NodeTimeout(time.Minute))
		secret := &corev1.Secret{}
		Eventually(func(g Gomega) { // the controller of tokens fills it
			g.Expect(admin.Get(ctx, client.ObjectKey{Namespace: operator.Namespace, Name: "lapse-scraper"}, secret)).To(Succeed())
			g.Expect(secret.Data).To(HaveKey(corev1.ServiceAccountTokenKey))
		}).WithContext(ctx).Should(Succeed())
		other, err := plane.ServiceAccountConfig(ctx, operator.Namespace, "lapse-reaper")
		Expect(err).NotTo(HaveOccurred())

		for _, pod := range managers(ctx) {
			Eventually(func(g Gomega) { // its authorizer may not know the binding yet
				status, text := scrape(ctx, g, pod.Status.PodIP, string(secret.Data[corev1.ServiceAccountTokenKey]))
				g.Expect(status).To(Equal(http.StatusOK), text)
				g.Expect(text).To(ContainSubstring("\nlapse_bindings "))
			}).WithContext(ctx).Should(Succeed())
			Eventually(func(g Gomega) int { // unknown tokens wait for their turn
				status, _ := scrape(ctx, g, pod.Status.PodIP, other.BearerToken)
				return status
			}).WithContext(ctx).Should(Equal(http.StatusForbidden))
			status, _ := scrape(ctx, Default, pod.Status.PodIP, "")
			Expect(status).To(Equal(http.StatusUnauthorized))
		}
	}, SpecTimeout(2*time.Minute))
})

// scrape asks a replica for its metrics, as a Prometheus of this node would.
func scrape(ctx context.Context, g Gomega, host, token string) (status int, text string) {
	GinkgoHelper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+net.JoinHostPort(host, "8443")+"/metrics", http.NoBody)
	g.Expect(err).NotTo(HaveOccurred())
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	// As config/monitoring/service_monitor.yaml has it: it signs its certificate itself.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(req)
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	g.Expect(err).NotTo(HaveOccurred())
	return res.StatusCode, string(body)
}
