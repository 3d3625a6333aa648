// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"regexp"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

var _ = Describe("A binding that a finalizer keeps", func() {
	It("gives access to nobody, is counted, and is told once on its request", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		newPolicy(ctx, builders.Policy("p-"+ns).Allowing("reader").In(ns))
		gauge := startScraped(ctx, ns)
		req := builders.Request("pinned").In(ns).ForClusterRole("reader").Lasting(time.Hour).Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		eventually(ctx, req, v1alpha1.ReasonGranted)
		removeAdmission(ctx) // the guard of managed bindings refuses finalizers
		Expect(gauge("lapse_bindings_pinned")).To(Equal("0"))

		b := &rbacv1.RoleBinding{}
		key := client.ObjectKey{Namespace: ns, Name: req.Status.Grant.Binding}
		Expect(admin.Get(ctx, key, b)).To(Succeed())
		b.Finalizers = []string{"example.com/pin"}
		Expect(admin.Update(ctx, b)).To(Succeed())
		Eventually(func() bool { return aliceReads(ctx, ns) }, 2*time.Second).WithContext(ctx).Should(BeFalse())
		eventually(ctx, req, v1alpha1.ReasonTampered)
		Eventually(gauge, 5*time.Second).WithContext(ctx).WithArguments("lapse_bindings_pinned").Should(Equal("1"))
		Expect(gauge("lapse_bindings_overdue")).To(Equal("0"))

		told := func() []string { return eventNotes(ctx, req, v1alpha1.ReasonBindingPinned) }
		Eventually(told).WithContext(ctx).Should(HaveExactElements(ContainSubstring("finalizers keep the object: example.com/pin")))
		Consistently(told, "6s").WithContext(ctx).Should(HaveLen(1), "it is tried again every 5 s at the latest")

		Expect(admin.Get(ctx, key, b)).To(Succeed())
		b.Finalizers = nil
		Expect(admin.Update(ctx, b)).To(Succeed())
		Eventually(func() error { return admin.Get(ctx, key, b) }).WithContext(ctx).ShouldNot(Succeed())
		Eventually(gauge, 5*time.Second).WithContext(ctx).WithArguments("lapse_bindings_pinned").Should(Equal("0"))
	}, SpecTimeout(time.Minute))
})

// startScraped runs a manager for the rest of the spec; gauge reads one of its metrics,
// as a ServiceAccount that may.
func startScraped(ctx context.Context, ns string) (gauge func(name string) string) {
	GinkgoHelper()
	address, err := operator.FreeAddress()
	Expect(err).NotTo(HaveOccurred())
	create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "scraper"}},
		builders.ClusterBinding("scraper-"+ns, "lapse-metrics-reader", builders.ServiceAccount(ns, "scraper")))
	scraper, err := plane.ServiceAccountConfig(ctx, ns, "scraper")
	Expect(err).NotTo(HaveOccurred())
	startManager(ctx, "--metrics-bind-address="+address)
	return func(name string) string {
		GinkgoHelper()
		status, body := scrape(ctx, address, "Bearer "+scraper.BearerToken)
		found := regexp.MustCompile(`(?m)^` + name + ` (.*)$`).FindStringSubmatch(body)
		Expect(found).To(HaveLen(2), "%d: %s", status, body)
		return found[1]
	}
}
