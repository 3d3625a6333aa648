// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/admission"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

var _ = Describe("A namespace", func() {
	DescribeTable("that is reserved gets no grant, whatever a policy says, and any other does",
		func(ctx SpecContext, args []string, refused map[string]string, granted ...string) {
			Expect(client.IgnoreAlreadyExists(admin.Create(ctx, builders.Namespace("vault-1")))).To(Succeed())
			newPolicy(ctx, builders.Policy("everywhere").Allowing("reader").In("kube-system", "kube-public", "vault-1", operator.Namespace))
			if len(args) > 0 { // these leave some of kube-* open, where admission would refuse all
				operator.WithoutGuard(ctx, GinkgoTB(), plane, operator.ReservedGuard)
			}
			startManager(ctx, args...)
			ask := func(ns string) *v1alpha1.AccessRequest {
				req := builders.Request("reserved").In(ns).ForClusterRole("reader").Lasting(time.Hour).Build()
				Expect(alice.Create(ctx, req)).To(Succeed())
				DeferCleanup(func(ctx SpecContext) { Expect(admin.Delete(ctx, req)).To(Succeed()) })
				return req
			}
			for ns, by := range refused {
				req := ask(ns)
				eventually(ctx, req, v1alpha1.ReasonDenied)
				Expect(req.Status.Conditions[0].Message).
					To(ContainSubstring(fmt.Sprintf("namespace %q is reserved by the operator (%q), whatever policies say", ns, by)))
				Expect(bindings(ctx, ns)).To(BeEmpty())
			}
			for _, ns := range granted {
				eventually(ctx, ask(ns), v1alpha1.ReasonGranted)
			}
		},
		Entry("by default: kube-* and the operator's own", SpecTimeout(time.Minute), []string{},
			map[string]string{"kube-system": "kube-*", "kube-public": "kube-*", operator.Namespace: operator.Namespace}, "vault-1"),
		Entry("by a flag that opens some and closes others", SpecTimeout(time.Minute), []string{"--reserved-namespaces=kube-system,vault-*"},
			map[string]string{"kube-system": "kube-system", "vault-1": "vault-*", operator.Namespace: operator.Namespace}, "kube-public"),
		Entry("by a flag that opens all but the operator's own", SpecTimeout(time.Minute), []string{"--reserved-namespaces="},
			map[string]string{operator.Namespace: operator.Namespace}, "kube-system", "kube-public", "vault-1"),
	)
})

var _ = Describe("A namespace of Kubernetes itself", func() {
	ask := func(ctx context.Context, ns, name, role string) *v1alpha1.AccessRequest {
		GinkgoHelper()
		req := builders.Request(name).In(ns).ForClusterRole(role).Lasting(time.Hour).Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { Expect(client.IgnoreNotFound(admin.Delete(ctx, req))).To(Succeed()) })
		return req
	}

	It("is refused to a stolen token of the operator, since who holds edit there can take over the cluster", func(ctx SpecContext) {
		thief := operator.NewClient(GinkgoTB(), operator.OwnConfig(ctx, GinkgoTB(), plane))
		req := ask(ctx, "kube-system", "stolen", "edit")
		bind := func() error { return thief.Create(ctx, forgedFor(req)) }
		Eventually(bind).WithContext(ctx).Should(MatchError(ContainSubstring(`denied request: nothing is granted in namespace "kube-system"`)))

		config, err := plane.User("mallory")
		Expect(err).NotTo(HaveOccurred())
		config.Impersonate.UserName = "system:serviceaccount:kube-system:clusterrole-aggregation-controller"
		controller, err := operator.RawClient(config)
		Expect(err).NotTo(HaveOccurred())
		takeOver := func() error {
			return controller.Update(ctx, builders.ClusterRole("reader", builders.Rule("*", "*", "*")), client.DryRunAll)
		}
		Expect(takeOver()).To(MatchError(apierrors.IsForbidden, "forbidden"))

		By("having the policy taken away")
		operator.WithoutGuard(ctx, GinkgoTB(), plane, operator.ReservedGuard)
		Expect(bind()).To(Succeed())
		Eventually(takeOver).WithContext(ctx).Should(Succeed())
	}, SpecTimeout(time.Minute))

	It("stays closed when only the flag opens it, and the log and the request say what does", func(ctx SpecContext) {
		newPolicy(ctx, builders.Policy("public").Allowing("reader").In("kube-public"))
		log := gbytes.NewBuffer()
		operator.NewManager(ctx, GinkgoTB(), plane, io.MultiWriter(GinkgoWriter, log), "--reserved-namespaces=")
		Eventually(func() string { return string(log.Contents()) }).WithContext(ctx).
			Should(And(ContainSubstring(admission.StillClosed), ContainSubstring(admission.OpenKube)))
		closed := ask(ctx, "kube-public", "closed", "reader")
		eventually(ctx, closed, v1alpha1.ReasonBindFailed)
		Expect(closed.Status.Conditions[0].Message).To(ContainSubstring("config/overlays/open-kube-namespaces says how to open them"))

		By("doing what they say")
		DeferCleanup(func(ctx SpecContext) { Expect(operator.Install(ctx, plane)).To(Succeed()) })
		_, stderr, err := plane.Kubectl(ctx, plane.AdminConfig(), strings.Fields(admission.OpenKube)[1:]...)
		Expect(err).NotTo(HaveOccurred(), stderr)
		n := 0
		Eventually(func(g Gomega) { // the API server forgets a policy after a moment
			n++
			req := ask(ctx, "kube-public", fmt.Sprint("open-", n), "reader")
			g.Eventually(func() (string, error) {
				err := admin.Get(ctx, client.ObjectKeyFromObject(req), req)
				return operator.Reason(req), err
			}).WithContext(ctx).Should(BeElementOf(v1alpha1.ReasonGranted, v1alpha1.ReasonBindFailed))
			g.Expect(req).To(haveReason(v1alpha1.ReasonGranted))
		}).WithContext(ctx).WithPolling(500 * time.Millisecond).Should(Succeed())
	}, SpecTimeout(2*time.Minute))
})

// forgedFor is what the operator would make of a request, for mallory.
func forgedFor(req *v1alpha1.AccessRequest) *rbacv1.RoleBinding {
	now := time.Now()
	return binding.New(req, builders.User("mallory"), "none",
		v1alpha1.Grant{Binding: binding.Name(req), GrantedAt: metav1.NewTime(now), ExpiresAt: metav1.NewTime(now.Add(time.Hour))})
}
