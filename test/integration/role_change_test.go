// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

var _ = Describe("A role that changes while it is held", func() {
	var (
		h     *harness
		ns    string
		alice client.Client
		p     *v1alpha1.AccessPolicy
		role  *rbacv1.ClusterRole
	)
	readConfigMaps := rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"list", "get"}}
	BeforeEach(func(ctx SpecContext) {
		h, ns, alice = newHarness(), newNamespace(ctx), user("alice")
		role = &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "drifts-" + ns}, Rules: []rbacv1.PolicyRule{readConfigMaps}}
		Expect(admin.Create(ctx, role)).To(Succeed())
		letBind(ctx, "clusterroles", role.Name)
		letBind(ctx, "roles", role.Name)
		p = newPolicy(ctx, builders.Policy("p-"+ns).Allowing(role.Name).AllowingRole(role.Name).In(ns))
	})
	held := func(ctx SpecContext, b builders.RequestBuilder) *v1alpha1.AccessRequest {
		GinkgoHelper()
		req := b.In(ns).Lasting(10 * time.Minute).Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		Eventually(func(g Gomega) { // until the authorizer knows that the operator may bind it
			h.settle(ctx, req)
			g.Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))
		}).WithContext(ctx).Should(Succeed())
		expectAccess(ctx, alice, ns, true)
		h.drainEvents()
		return req
	}
	change := func(ctx SpecContext, rules ...rbacv1.PolicyRule) {
		GinkgoHelper()
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(role), role)).To(Succeed())
		role.Rules = rules
		Expect(admin.Update(ctx, role)).To(Succeed())
	}
	more := rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}}

	It("and grows is told on the request, once, and no more when it is as it was", func(ctx SpecContext) {
		req := held(ctx, builders.Request("grows").ForClusterRole(role.Name))
		Expect(req.Status.Grant.Role.UID).To(Equal(role.UID))
		change(ctx, readConfigMaps, more)
		h.settle(ctx, req)
		Expect(req).To(haveCondition(v1alpha1.ConditionRoleChanged, metav1.ConditionTrue, v1alpha1.ReasonRoleGrew))
		said := `ClusterRole "` + role.Name + `" changed: it allows more than when access was given: get on secrets`
		Expect(roleMessage(req)).To(Equal(said))
		Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))
		expectAccess(ctx, alice, ns, true)
		Expect(h.drainEvents()).To(Equal([]string{"Warning RoleGrew " + said}))

		version := req.ResourceVersion
		h.settle(ctx, req)
		Expect(req.ResourceVersion).To(Equal(version), "said once")
		Expect(h.drainEvents()).To(BeEmpty())

		By("changing it back, in other words")
		change(ctx, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get", "list"}})
		h.settle(ctx, req)
		Expect(meta.FindStatusCondition(req.Status.Conditions, v1alpha1.ConditionRoleChanged)).To(BeNil())
		Expect(h.drainEvents()).To(BeEmpty())
	})

	It("and grows is told also by an operator that was started after it", func(ctx SpecContext) {
		req := held(ctx, builders.Request("restart").ForClusterRole(role.Name))
		change(ctx, readConfigMaps, more)
		h = newHarness()
		h.settle(ctx, req)
		Expect(roleMessage(req)).To(HaveSuffix(": get on secrets"))
	})

	It("and grows ends access where the policy says so, also if it came to say so later", func(ctx SpecContext) {
		req := held(ctx, builders.Request("revoked").ForClusterRole(role.Name))
		change(ctx, readConfigMaps, more)
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))
		p.Spec.OnRoleChange = v1alpha1.RoleChangeRevoke
		Expect(admin.Update(ctx, p)).To(Succeed())
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonRoleChanged))
		Expect(message(req)).To(Equal(`ClusterRole "` + role.Name +
			`" changed: it allows more than when access was given: get on secrets; policy ` + p.Name + " says onRoleChange: Revoke"))
		Expect(req.Status.State).To(Equal(v1alpha1.StateRevoked))
		Expect(bindingOf(ctx, req)).To(BeNil())
		expectAccess(ctx, alice, ns, false)
	})

	It("and shrinks, or is only written anew, is not told and ends nothing", func(ctx SpecContext) {
		p.Spec.OnRoleChange = v1alpha1.RoleChangeRevoke
		Expect(admin.Update(ctx, p)).To(Succeed())
		req := held(ctx, builders.Request("shrinks").ForClusterRole(role.Name))
		version := req.ResourceVersion
		change(ctx, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"list"}})
		h.settle(ctx, req)
		role.Labels = map[string]string{"x": "y"}
		Expect(admin.Update(ctx, role)).To(Succeed())
		h.settle(ctx, req)
		Expect(req.ResourceVersion).To(Equal(version))
		expectAccess(ctx, alice, ns, true)
	})

	It("of the namespace counts as changed when it is deleted, and when it is created again", func(ctx SpecContext) {
		local := func() *rbacv1.Role {
			return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: role.Name}, Rules: []rbacv1.PolicyRule{readConfigMaps}}
		}
		first := local()
		Expect(admin.Create(ctx, first)).To(Succeed())
		req := held(ctx, builders.Request("replaced").ForRole(role.Name))
		version := req.ResourceVersion
		first.Labels = map[string]string{"x": "y"}
		Expect(admin.Update(ctx, first)).To(Succeed())
		h.settle(ctx, req)
		Expect(req.ResourceVersion).To(Equal(version))

		Expect(admin.Delete(ctx, first)).To(Succeed())
		h.settle(ctx, req)
		Expect(req).To(haveCondition(v1alpha1.ConditionRoleChanged, metav1.ConditionTrue, v1alpha1.ReasonRoleDeleted))
		Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))

		Expect(admin.Create(ctx, local())).To(Succeed())
		h.settle(ctx, req)
		Expect(req).To(haveCondition(v1alpha1.ConditionRoleChanged, metav1.ConditionTrue, v1alpha1.ReasonRoleReplaced))
		Expect(roleMessage(req)).
			To(Equal(`Role "` + role.Name + `" was deleted and created again: it allows nothing that it did not allow when access was given`))
		expectAccess(ctx, alice, ns, true)

		p.Spec.OnRoleChange = v1alpha1.RoleChangeRevoke
		Expect(admin.Update(ctx, p)).To(Succeed())
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonRoleChanged))
		expectAccess(ctx, alice, ns, false)
	})

	// again creates the role anew, with other rules.
	again := func(ctx SpecContext, rules ...rbacv1.PolicyRule) {
		GinkgoHelper()
		Expect(admin.Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: role.Name}, Rules: rules})).To(Succeed())
	}

	It("of the cluster that is deleted is told, once, and so is what comes in its place", func(ctx SpecContext) {
		req := held(ctx, builders.Request("deleted").ForClusterRole(role.Name))
		Expect(admin.Delete(ctx, role)).To(Succeed())
		h.settle(ctx, req)
		Expect(req).To(haveCondition(v1alpha1.ConditionRoleChanged, metav1.ConditionTrue, v1alpha1.ReasonRoleDeleted))
		said := `ClusterRole "` + role.Name + `" was deleted: access gives nothing until there is one of that name, and then what that allows`
		Expect(roleMessage(req)).To(Equal(said))
		Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))
		Expect(bindingOf(ctx, req).Subjects).To(HaveLen(1))
		expectAccess(ctx, alice, ns, false)
		Expect(h.drainEvents()).To(Equal([]string{"Warning RoleDeleted " + said}))

		version := req.ResourceVersion
		h.settle(ctx, req)
		Expect(req.ResourceVersion).To(Equal(version), "said once")
		Expect(h.drainEvents()).To(BeEmpty())

		again(ctx, readConfigMaps, more)
		h.settle(ctx, req)
		Expect(req).To(haveCondition(v1alpha1.ConditionRoleChanged, metav1.ConditionTrue, v1alpha1.ReasonRoleReplaced))
		said = `ClusterRole "` + role.Name + `" was deleted and created again: it allows more than when access was given: get on secrets`
		Expect(roleMessage(req)).To(Equal(said))
		Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))
		expectAccess(ctx, alice, ns, true)
		Expect(h.drainEvents()).To(Equal([]string{"Warning RoleReplaced " + said}))
	})

	It("of the cluster that is deleted ends access where the policy says so, and gives none when it is created again", func(ctx SpecContext) {
		p.Spec.OnRoleChange = v1alpha1.RoleChangeRevoke
		Expect(admin.Update(ctx, p)).To(Succeed())
		req := held(ctx, builders.Request("revoked").ForClusterRole(role.Name))
		Expect(admin.Delete(ctx, role)).To(Succeed())
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonRoleChanged))
		Expect(message(req)).To(Equal(`ClusterRole "` + role.Name + `" was deleted: access gives nothing until there is one of that name, ` +
			"and then what that allows; policy " + p.Name + " says onRoleChange: Revoke"))
		Expect(req.Status.State).To(Equal(v1alpha1.StateRevoked))
		Expect(bindingOf(ctx, req)).To(BeNil())

		again(ctx, readConfigMaps)
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonRoleChanged))
		Expect(bindingOf(ctx, req)).To(BeNil())
		expectAccess(ctx, alice, ns, false)
	})

	// Without the role and the right to bind it, the API server refuses to take subjects off.
	It("of the cluster that is deleted, and the right to bind it with it, delays no end", func(ctx SpecContext) {
		req := held(ctx, builders.Request("gone").ForClusterRole(role.Name))
		Expect(admin.Delete(ctx, role)).To(Succeed())
		Expect(admin.Delete(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "may-bind-clusterroles-" + role.Name}})).
			To(Succeed())
		Eventually(func() error { // until the authorizer knows
			emptied := bindingOf(ctx, req)
			emptied.Subjects = nil
			return asOperator.Update(ctx, emptied, client.DryRunAll)
		}).WithContext(ctx).ShouldNot(Succeed())
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))

		h.clock.SetTime(req.Status.Grant.ExpiresAt.Time)
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonExpired))
		Expect(bindingOf(ctx, req)).To(BeNil())
		again(ctx, readConfigMaps)
		expectAccess(ctx, alice, ns, false)
	})

	It("that cannot be read ends nothing, and delays no end", func(ctx SpecContext) {
		Expect(admin.Create(ctx,
			&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: role.Name}, Rules: []rbacv1.PolicyRule{readConfigMaps}})).To(Succeed())
		p.Spec.OnRoleChange = v1alpha1.RoleChangeRevoke
		Expect(admin.Update(ctx, p)).To(Succeed())
		req := held(ctx, builders.Request("unread").ForRole(role.Name))
		blind := newHarnessWith(withoutRoles{asOperator}, withoutRoles{asOperator})
		blind.clock.SetTime(h.clock.Now())
		Expect(blind.step(ctx, req)).To(MatchError(ContainSubstring("reading Role " + role.Name)))
		expectAccess(ctx, alice, ns, true)
		blind.clock.SetTime(req.Status.Grant.ExpiresAt.Time)
		blind.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonExpired))
		expectAccess(ctx, alice, ns, false)
	})
})

// letBind lets the operator bind a role.
func letBind(ctx context.Context, resource, name string) {
	GinkgoHelper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "may-bind-" + resource + "-" + name}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{rbacv1.GroupName}, Resources: []string{resource}, ResourceNames: []string{name}, Verbs: []string{"bind"}},
	}}
	Expect(admin.Create(ctx, role)).To(Succeed())
	bindCluster(ctx, role.Name, role.Name,
		rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: operator.Namespace, Name: operator.ServiceAccount})
}

// withoutRoles cannot read Roles.
type withoutRoles struct{ client.Client }

func (c withoutRoles) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	switch obj.(type) {
	case *rbacv1.Role, *metav1.PartialObjectMetadata:
		return context.DeadlineExceeded
	default:
		return c.Client.Get(ctx, key, obj, opts...)
	}
}

// roleMessage is what the condition RoleChanged says.
func roleMessage(req *v1alpha1.AccessRequest) string {
	if c := meta.FindStatusCondition(req.Status.Conditions, v1alpha1.ConditionRoleChanged); c != nil {
		return c.Message
	}
	return ""
}

// drainEvents returns the Events that were recorded since the last call.
func (h *harness) drainEvents() []string {
	var out []string
	for {
		select {
		case e := <-h.events.Events:
			out = append(out, e)
		default:
			return out
		}
	}
}
