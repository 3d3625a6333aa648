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
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	var err error
	plane, err = controlplane.Start(ctx, controlplane.Options{ControllerManager: true})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() error { return plane.Stop() })
	Expect(operator.Install(ctx, plane)).To(Succeed())
	admin = clientOf(plane.AdminConfig())
	asAlice, err = plane.User("alice", "askers")
	Expect(err).NotTo(HaveOccurred())
	alice = clientOf(asAlice)

	Expect(admin.Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "reader"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get", "list"}},
	}})).To(Succeed())
	for _, role := range []string{"reader", "edit", "admin"} {
		allowBind(ctx, role)
	}
	Expect(admin.Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "askers"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "lapse-requester"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: "askers"}},
	})).To(Succeed())
}, NodeTimeout(3*time.Minute))

// allowBind is what an admin does to let the operator bind a role.
func allowBind(ctx context.Context, role string) {
	GinkgoHelper()
	Expect(admin.Create(ctx, &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "bindable-" + role, Labels: map[string]string{v1alpha1.BindableLabel: "true"}},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"clusterroles"}, ResourceNames: []string{role}, Verbs: []string{"bind"}},
		},
	})).To(Succeed())
}

func clientOf(config *rest.Config) client.Client {
	GinkgoHelper()
	c, err := operator.Client(config)
	Expect(err).NotTo(HaveOccurred())
	return c
}

// startManager runs one for the rest of the spec.
func startManager(ctx context.Context, args ...string) *operator.Manager {
	GinkgoHelper()
	m, err := operator.Start(ctx, plane, GinkgoWriter, args...)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() error { return m.Stop() })
	return m
}

// removeGuard takes an admission policy away for the rest of the spec.
func removeGuard(ctx context.Context, name string) {
	GinkgoHelper()
	restore, err := operator.RemoveGuard(ctx, plane, name)
	if restore != nil {
		DeferCleanup(func(ctx SpecContext) { Expect(restore(ctx)).To(Succeed()) })
	}
	Expect(err).NotTo(HaveOccurred())
}

func newNamespace(ctx context.Context) string {
	GinkgoHelper()
	ns := builders.Namespace("")
	ns.GenerateName = "spec-"
	Expect(admin.Create(ctx, ns)).To(Succeed())
	return ns.Name
}

// newPolicy creates a policy that belongs to one spec.
func newPolicy(ctx context.Context, b builders.PolicyBuilder) {
	GinkgoHelper()
	p := b.Build()
	Expect(admin.Create(ctx, p)).To(Succeed())
	DeferCleanup(func(ctx SpecContext) { Expect(client.IgnoreNotFound(admin.Delete(ctx, p))).To(Succeed()) })
}

// reason waits for the reason of Ready.
func haveReason(reason string) types.GomegaMatcher {
	return WithTransform(func(req *v1alpha1.AccessRequest) string {
		if c := meta.FindStatusCondition(req.Status.Conditions, v1alpha1.ConditionReady); c != nil {
			return c.Reason
		}
		return ""
	}, Equal(reason))
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
	Expect(admin.List(ctx, list, client.InNamespace(namespace), client.MatchingLabels{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy})).To(Succeed())
	return list.Items
}
