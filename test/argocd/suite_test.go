// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package argocd applies policies and requests, compares them with Git and prunes them by what
// Argo CD does that with, its library gitops-engine. There is no Argo CD: the tests do what its
// controller has that library do.
package argocd

import (
	"context"
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

const (
	home = "argocd"
	// account is Argo CD's own. As Argo CD installs it, it is a cluster admin.
	account = "argocd-application-controller"
	// deployer is one that it impersonates: it may ask, and do nothing else.
	deployer = "deployer"
)

var (
	plane *controlplane.ControlPlane
	// admin sets things up and looks; what it may do proves nothing.
	admin client.Client
)

func TestArgoCD(t *testing.T) {
	RegisterFailHandler(Fail)
	EnforceDefaultTimeoutsWhenUsingContexts()
	SetDefaultEventuallyTimeout(time.Minute)
	SetDefaultEventuallyPollingInterval(100 * time.Millisecond)
	RunSpecs(t, "Lapse with Argo CD")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	log.SetLogger(zap.New(zap.WriteTo(GinkgoWriter)))
	plane = operator.NewPlane(ctx, GinkgoTB(), controlplane.Options{ControllerManager: true})
	admin = operator.NewClient(GinkgoTB(), plane.AdminConfig())
	create(ctx, builders.Namespace(home),
		builders.ClusterBinding("argocd", "cluster-admin", builders.ServiceAccount(home, account)),
		// What docs/gitops.md gives besides lapse-requester.
		builders.ClusterRole("gitops-accessrequests", builders.Rule("lapse.dev", "accessrequests", "patch", "delete")),
		builders.ClusterRole("reader", builders.Rule("", "configmaps", "get")),
		builders.Bindable("clusterroles", "reader"))
	for _, name := range []string{account, deployer} {
		create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: name}})
	}
	operator.NewManager(ctx, GinkgoTB(), plane, GinkgoWriter)
}, NodeTimeout(3*time.Minute))

func create(ctx context.Context, objects ...client.Object) {
	GinkgoHelper()
	operator.Create(ctx, GinkgoTB(), admin, objects...)
}

// newTenant is a namespace in which an account may ask, and leads may approve.
func newTenant(ctx context.Context, asker string) string {
	GinkgoHelper()
	ns := operator.NewNamespace(ctx, GinkgoTB(), admin)
	create(ctx,
		builders.Binding(ns, "gitops-may-ask", "lapse-requester", builders.ServiceAccount(home, asker)),
		builders.Binding(ns, "gitops-accessrequests", "gitops-accessrequests", builders.ServiceAccount(home, asker)),
		builders.Binding(ns, "approvers", "lapse-approver", builders.Group("leads")))
	return ns
}

// requester is what a request says of the account that applies it: nothing where the API server
// stamps that, as docs/compatibility.md says.
func requester(ctx context.Context, asker string) string {
	GinkgoHelper()
	stamps, err := operator.Stamps(plane.AdminConfig())
	Expect(err).NotTo(HaveOccurred())
	if stamps {
		return ""
	}
	uid := ""
	if asker == account { // the other one is impersonated, and has none
		sa := &corev1.ServiceAccount{}
		Expect(admin.Get(ctx, client.ObjectKey{Namespace: home, Name: asker}, sa)).To(Succeed())
		uid = fmt.Sprintf(", uid: %s", sa.UID)
	}
	return fmt.Sprintf("  requester: {username: %q, groups: [%q, %q, %q]%s}\n", username(asker),
		"system:serviceaccounts", "system:serviceaccounts:"+home, "system:authenticated", uid)
}

func username(name string) string { return "system:serviceaccount:" + home + ":" + name }
