// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/operator"
)

// What is refused, and to whom, is in test/e2e, with the roles admin and edit as they
// are. This is about the guard itself.
var _ = Describe("The guard against persistence", Ordered, func() {
	BeforeAll(func(ctx SpecContext) {
		Expect(admin.Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "maker"}, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"serviceaccounts"}, Verbs: []string{"create"}},
			{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"rolebindings"}, Verbs: []string{"create", "update", "delete"}},
			{APIGroups: []string{certificatesv1.GroupName}, Resources: []string{"podcertificaterequests"}, Verbs: []string{"create"}},
		}})).To(Succeed())
		allowBind(ctx, "makers", rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: operator.Namespace, Name: operator.ServiceAccount},
			"maker")
		probe := forged(newNamespace(ctx))
		probe.RoleRef.Name = "maker"
		Eventually(func() error { return asOperator.Create(ctx, probe.DeepCopy(), client.DryRunAll) }).WithContext(ctx).Should(Succeed())
	})

	It("holds from the moment that access is there", func(ctx SpecContext) {
		const grants, clients = 30, 4
		alice := user("alice")
		for range grants {
			ns := newNamespace(ctx)
			first := make(chan error, clients)
			for range clients {
				go func() { first <- firstAnswer(ctx, alice, ns) }()
			}
			Expect(asOperator.Create(ctx, grantTo(ns, 0, rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "alice"}))).
				To(Succeed())
			for range clients {
				var err error
				Eventually(first).WithContext(ctx).Should(Receive(&err))
				Expect(err).To(MatchError(ContainSubstring("you may not create ServiceAccounts there")), "and not one is let through before")
			}
		}
	})

	It("reads bindings from the informer of the RBAC authorizer", func() {
		events, err := plane.AuditEvents(0)
		Expect(err).NotTo(HaveOccurred())
		watches := map[string]bool{}
		for _, e := range events {
			if e.User.Username == "system:apiserver" && strings.HasPrefix(e.RequestURI, "/apis/rbac.authorization.k8s.io/v1/rolebindings?") &&
				e.Verb == "list" {
				watches[string(e.AuditID)] = true
			}
		}
		Expect(len(watches)).To(BeNumerically("<=", 1), "a second informer would list them again")
	})

	It("holds with 200 grants in the namespace and a holder in 500 groups", func(ctx SpecContext) {
		const grants, groups = 200, 500
		ns := newNamespace(ctx)
		names := make([]string, groups)
		for i := range names {
			names[i] = fmt.Sprintf("a-rather-long-name-of-a-group-%04d", i)
		}
		zoe := user("zoe", names...)
		bindCluster(ctx, "zoe-"+ns, "maker", rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "zoe"})
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "mine"}}
		for i := range grants {
			Expect(asOperator.Create(ctx,
				grantTo(ns, i, rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: fmt.Sprint("other-", i)}))).To(Succeed())
		}
		Eventually(func() error { return zoe.Create(ctx, account.DeepCopy(), client.DryRunAll) }).WithContext(ctx).
			Should(Succeed(), "none of them is hers")

		last := grantTo(ns, grants, rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: names[groups-1]})
		Expect(asOperator.Create(ctx, last)).To(Succeed())
		Eventually(func() error { return zoe.Create(ctx, account.DeepCopy(), client.DryRunAll) }).WithContext(ctx).
			Should(MatchError(ContainSubstring(`RoleBinding "` + last.Name + `"`)))
	}, SpecTimeout(time.Minute))

	It("refuses to ask for certificates of Pods, but to a node", func(ctx SpecContext) {
		kind := certificatesv1.SchemeGroupVersion.WithKind("PodCertificateRequest")
		_, err := admin.RESTMapper().RESTMapping(kind.GroupKind(), kind.Version)
		if meta.IsNoMatchError(err) {
			Skip("about PodCertificateRequests, which this API server does not have")
		}
		Expect(err).NotTo(HaveOccurred())
		ns := newNamespace(ctx)
		holder, node := user("crew-member", "crew-"+ns), user("system:node:worker", "crew-"+ns, "system:nodes")
		ask := func(as client.Client) error { return as.Create(ctx, certificateOfAPod(ns), client.DryRunAll) }
		standing := rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: "crew-" + ns}
		bindCluster(ctx, "crew-"+ns, "maker", standing)
		Eventually(ask).WithArguments(holder).WithContext(ctx).Should(Succeed(), "before the grant")
		Expect(asOperator.Create(ctx, grantTo(ns, 0, standing))).To(Succeed())
		Eventually(ask).WithArguments(holder).WithContext(ctx).
			Should(MatchError(ContainSubstring("you may not ask signers for certificates of Pods there")))
		Expect(ask(node)).To(Succeed())
	})

	It("lets a RoleBinding of 500 subjects be written again, and take no more", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		big := &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "big"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "maker"},
		}
		for i := range 500 {
			big.Subjects = append(big.Subjects, rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: fmt.Sprint("member-", i)})
		}
		Expect(admin.Create(ctx, big)).To(Succeed())
		Expect(asOperator.Create(ctx, grantTo(ns, 0, rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "alice"}))).
			To(Succeed())
		alice := user("alice")
		Eventually(func() error { return alice.Update(ctx, big) }).WithContext(ctx).Should(Succeed())
		big.Subjects = big.Subjects[1:]
		Expect(alice.Update(ctx, big)).To(Succeed(), "fewer")
		big.Subjects[7].Name = "eve"
		Expect(alice.Update(ctx, big)).To(MatchError(ContainSubstring("you may not bind roles there")))
	})
})

// certificateOfAPod is a request for one.
func certificateOfAPod(ns string) *certificatesv1.PodCertificateRequest {
	GinkgoHelper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	Expect(err).NotTo(HaveOccurred())
	return &certificatesv1.PodCertificateRequest{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, GenerateName: "mine-"},
		Spec: certificatesv1.PodCertificateRequestSpec{
			SignerName: "example.com/signer", PodName: "app", PodUID: "1", ServiceAccountName: "app", ServiceAccountUID: "2",
			NodeName: "worker", NodeUID: "3", MaxExpirationSeconds: new(int32(86400)), StubPKCS10Request: csr,
		},
	}
}

// firstAnswer tries until RBAC says yes, and returns what the API server says then.
func firstAnswer(ctx context.Context, as client.Client, ns string) error {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "mine"}}
	for ctx.Err() == nil {
		err := as.Create(ctx, account.DeepCopy(), client.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), `cannot create resource "serviceaccounts"`) {
			return err
		}
	}
	return ctx.Err()
}

// grantTo is the i-th managed binding of the role maker in a namespace.
func grantTo(ns string, i int, s rbacv1.Subject) *rbacv1.RoleBinding {
	b := forged(ns)
	uid := fmt.Sprintf("%08d-0000-0000-0000-000000000000", i)
	b.Name = "lapse-forged-" + uid[:8]
	b.Labels[v1alpha1.RequestUIDLabel], b.OwnerReferences[0].UID = uid, types.UID(uid)
	b.RoleRef.Name, b.Subjects = "maker", []rbacv1.Subject{s}
	return b
}
