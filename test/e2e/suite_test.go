// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the manager binary, with a token of its own ServiceAccount,
// against a real kube-apiserver and kube-controller-manager.
package e2e

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

var (
	plane *controlplane.ControlPlane
	// admin sets things up and looks; what it may do proves nothing.
	admin client.Client
	alice client.Client
	// asAlice is alice's config, for kubectl.
	asAlice *rest.Config
)

func TestEndToEnd(t *testing.T) {
	RegisterFailHandler(Fail)
	EnforceDefaultTimeoutsWhenUsingContexts()
	SetDefaultEventuallyTimeout(20 * time.Second)
	SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	RunSpecs(t, "Lapse end to end")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	plane = operator.NewPlane(ctx, GinkgoTB(), controlplane.Options{ControllerManager: true})
	admin = operator.NewClient(GinkgoTB(), plane.AdminConfig())
	var err error
	asAlice, err = plane.User("alice", "askers")
	Expect(err).NotTo(HaveOccurred())
	alice = operator.NewClient(GinkgoTB(), asAlice)
	create(ctx, builders.ClusterRole("reader", builders.Rule("", "configmaps", "get", "list")),
		builders.Bindable("clusterroles", "reader", "edit", "admin"),
		builders.ClusterBinding("askers", "lapse-requester", builders.Group("askers")))
}, NodeTimeout(3*time.Minute))

// What it reports is a column of the table of ways to install in docs/compatibility.md.
var _ = AfterSuite(func(ctx SpecContext) {
	if plane == nil {
		return // it did not start
	}
	refused, err := operator.Refused(ctx, plane)
	Expect(err).NotTo(HaveOccurred())
	AddReportEntry(operator.RefusedEntry, refused, ReportEntryVisibilityNever)
}, NodeTimeout(time.Minute))

func create(ctx context.Context, objects ...client.Object) {
	GinkgoHelper()
	operator.Create(ctx, GinkgoTB(), admin, objects...)
}

// startManager runs one for the rest of the spec.
func startManager(ctx context.Context, args ...string) *operator.Manager {
	GinkgoHelper()
	// One that is killed keeps the lease for 15 s, which the next to lead would wait for.
	DeferCleanup(func(ctx SpecContext) {
		Expect(admin.DeleteAllOf(ctx, &coordinationv1.Lease{}, client.InNamespace(operator.Namespace))).To(Succeed())
	})
	return operator.NewManager(ctx, GinkgoTB(), plane, GinkgoWriter, args...)
}

func newNamespace(ctx context.Context) string {
	GinkgoHelper()
	return operator.NewNamespace(ctx, GinkgoTB(), admin)
}

// newPolicy creates a policy that belongs to one spec.
func newPolicy(ctx context.Context, b builders.PolicyBuilder) {
	GinkgoHelper()
	operator.NewPolicy(ctx, GinkgoTB(), admin, b)
}

// askMany has somebody create requests, some at a time.
func askMany(ctx context.Context, as client.Client, n int, request func(i int) builders.RequestBuilder) {
	GinkgoHelper()
	var group errgroup.Group
	group.SetLimit(8)
	for i := range n {
		group.Go(func() error { return as.Create(ctx, request(i).Build()) })
	}
	Expect(group.Wait()).To(Succeed())
}

// haveReason matches the reason of Ready.
func haveReason(reason string) types.GomegaMatcher {
	return WithTransform(operator.Reason, Equal(reason))
}

// eventually reads the request until it has the reason.
func eventually(ctx context.Context, req *v1alpha1.AccessRequest, reason string) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(Succeed())
		g.Expect(req).To(haveReason(reason))
	}).WithContext(ctx).Should(Succeed())
}

// bindings are the managed ones in a namespace.
func bindings(ctx context.Context, namespace string) []rbacv1.RoleBinding {
	GinkgoHelper()
	list := &rbacv1.RoleBindingList{}
	Expect(admin.List(ctx, list, client.InNamespace(namespace), client.MatchingLabels{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy})).
		To(Succeed())
	return list.Items
}
