// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package integration tests the API, its admission and the reconcilers against a
// real kube-apiserver. Users come with client certificates of their own, the
// operator with a token of its ServiceAccount and the RBAC that ships.
package integration

import (
	"context"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

var (
	plane *controlplane.ControlPlane
	// admin sets things up; what it may do proves nothing.
	admin client.Client
	// asOperator is what the reconcilers use.
	asOperator client.Client
	// stamps says whether the API server fills in who asks.
	stamps bool
)

// aboutStamping labels what can be seen only where the API server stamps: below Kubernetes
// 1.36 it has no kind that could. On the newest version nothing is left out; where something
// is, the table of docs/compatibility.md counts it.
var aboutStamping = Label("about stamping")

var _ = BeforeEach(func() {
	if !stamps && slices.Contains(CurrentSpecReport().Labels(), aboutStamping[0]) {
		Skip("about stamping, which this API server does not do")
	}
})

func TestIntegration(t *testing.T) {
	RegisterFailHandler(Fail)
	EnforceDefaultTimeoutsWhenUsingContexts()
	SetDefaultEventuallyTimeout(10 * time.Second)
	RunSpecs(t, "Lapse on a real API server")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	log.SetLogger(zap.New(zap.WriteTo(GinkgoWriter)))
	var err error
	plane, err = controlplane.Start(ctx, controlplane.Options{})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() error { return plane.Stop() })
	Expect(install(ctx)).To(Succeed())
	stamps, err = operator.Stamps(plane.AdminConfig())
	Expect(err).NotTo(HaveOccurred())
	admin = clientOf(plane.AdminConfig())
	takeRights(ctx)

	config, err := plane.ServiceAccountConfig(ctx, operator.Namespace, operator.ServiceAccount)
	Expect(err).NotTo(HaveOccurred())
	asOperator = clientOf(config)
	createRoles(ctx)
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

// install installs Lapse as README says for the version.
func install(ctx context.Context) error { return operator.Install(ctx, plane) }

// createRoles makes roles to ask for. There is no controller manager here that
// fills aggregated roles, such as view, edit and lapse-bindable.
func createRoles(ctx context.Context) {
	for _, name := range []string{"reader", "writer", "unbindable", "forbidden"} {
		verbs := []string{"get", "list"}
		if name == "writer" {
			verbs = append(verbs, "create", "update", "delete")
		}
		Expect(admin.Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: verbs},
		}})).To(Succeed())
	}
	allowBind(ctx, operator.ServiceAccount,
		rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: operator.Namespace, Name: operator.ServiceAccount}, "reader", "writer")
	bindCluster(ctx, "askers", "lapse-requester", rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: "askers"})
}

// allowBind lets somebody bind ClusterRoles.
func allowBind(ctx context.Context, name string, subject rbacv1.Subject, roles ...string) {
	GinkgoHelper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "may-bind-" + name}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"clusterroles"}, ResourceNames: roles, Verbs: []string{"bind"}},
	}}
	Expect(admin.Create(ctx, role)).To(Succeed())
	bindCluster(ctx, role.Name, role.Name, subject)
}

func bindCluster(ctx context.Context, name, role string, subjects ...rbacv1.Subject) {
	GinkgoHelper()
	Expect(admin.Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   subjects,
	})).To(Succeed())
}

func clientOf(config *rest.Config) client.Client {
	GinkgoHelper()
	c, err := operator.Client(config)
	Expect(err).NotTo(HaveOccurred())
	return c
}

// user has a certificate of its own; the group askers may create requests.
func user(name string, groups ...string) client.Client {
	GinkgoHelper()
	config, err := plane.User(name, append(groups, "askers")...)
	Expect(err).NotTo(HaveOccurred())
	return clientOf(config)
}

// removeGuard takes an admission policy away for the rest of a spec, or container.
func removeGuard(ctx context.Context, name string) {
	GinkgoHelper()
	restore, err := operator.RemoveGuard(ctx, plane, name)
	if restore != nil {
		DeferCleanup(func(ctx SpecContext) { Expect(restore(ctx)).To(Succeed()) })
	}
	Expect(err).NotTo(HaveOccurred())
}

// newNamespace is a namespace for one spec.
func newNamespace(ctx context.Context) string {
	GinkgoHelper()
	ns := builders.Namespace("")
	ns.GenerateName = "spec-"
	Expect(admin.Create(ctx, ns)).To(Succeed())
	return ns.Name
}

// newPolicy creates a policy that belongs to one spec.
func newPolicy(ctx context.Context, b builders.PolicyBuilder) *v1alpha1.AccessPolicy {
	GinkgoHelper()
	p := b.Build()
	Expect(admin.Create(ctx, p)).To(Succeed())
	DeferCleanup(func(ctx SpecContext) { Expect(client.IgnoreNotFound(admin.Delete(ctx, p))).To(Succeed()) })
	return p
}
