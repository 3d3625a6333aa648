// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

var _ = Describe("A policy", func() {
	var ns, name string
	BeforeEach(func(ctx SpecContext) {
		ns = newNamespace(ctx)
		name = "offered-" + ns
	})
	// says waits for what the policy says of itself.
	says := func(ctx context.Context, reason, message string) {
		GinkgoHelper()
		Eventually(func(g Gomega) {
			p := policyNow(ctx, "p-"+ns)
			ready := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
			g.Expect(ready).NotTo(BeNil())
			g.Expect(ready.Reason + ": " + ready.Message).To(Equal(reason + ": " + message))
		}).WithContext(ctx).Should(Succeed())
	}

	It("allows nothing more when something dangerous is aggregated into a role of it", func(ctx SpecContext) {
		create(ctx, builders.Bindable("clusterroles", name))
		aggregated(ctx, name)
		piece(ctx, name, "base", builders.Rule("", "configmaps", "get", "list"))
		newPolicy(ctx, builders.Policy("p-"+ns).Allowing(name).In(ns))
		startManager(ctx)
		filled(ctx, name, 1)
		first := builders.Request("first").In(ns).ForClusterRole(name).Lasting(time.Hour).Build()
		Expect(alice.Create(ctx, first)).To(Succeed())
		eventually(ctx, first, v1alpha1.ReasonGranted)
		for _, danger := range []struct {
			name, text string
			rule       rbacv1.PolicyRule
		}{
			{"escalate", "it allows escalate on roles", builders.Rule(rbacv1.GroupName, "roles", "escalate")},
			{"wildcard", "it allows every verb (*) on pods", builders.Rule("", "pods", "*")},
		} {
			dangerous := piece(ctx, name, danger.name, danger.rule)
			says(ctx, v1alpha1.ReasonDangerousRole, `allows nothing: ClusterRole "`+name+`" is dangerous: `+danger.text+
				"; set allowDangerousRoles if that is meant")
			req := builders.Request(danger.name).In(ns).ForClusterRole(name).Lasting(time.Hour).Build()
			Expect(alice.Create(ctx, req)).To(Succeed())
			eventually(ctx, req, v1alpha1.ReasonDenied)
			ready := meta.FindStatusCondition(req.Status.Conditions, v1alpha1.ConditionReady)
			Expect(ready.Message).To(Equal("no policy allows this: policy p-" + ns + `: ClusterRole "` + name + `" is dangerous: ` + danger.text +
				"; the policy does not say allowDangerousRoles"))
			Expect(policyNow(ctx, "p-"+ns).Status.Risks).To(ContainElement(name + ": " + danger.text))
			Expect(bindings(ctx, ns)).To(HaveLen(1), "the first one goes on; it is told that the role changed")

			Expect(admin.Delete(ctx, dangerous)).To(Succeed())
			says(ctx, v1alpha1.ReasonValid, "in force")
		}
	}, SpecTimeout(time.Minute))

	It("tells approvers the risks of edit and admin as they are, and as they become", func(ctx SpecContext) {
		newPolicy(ctx, builders.Policy("p-"+ns).Allowing("edit", "admin").In(ns))
		startManager(ctx)
		both := []any{
			"its holder can run commands in running pods, with all that those pods may do",
			"its holder can attach to running pods, read their output and type into them",
			"its holder can connect to any port of running pods, past network policies",
			"its holder can read secrets, with the passwords and tokens in them",
			"its holder can write secrets, which applications and controllers trust",
			"its holder can make tokens of service accounts; refused in the namespace of the grant while it lasts",
			"its holder can act as service accounts, with all that those may do, also what is refused to the holder",
			"its holder can start pods that use any secret and service account of the namespace, and outlive this access",
		}
		of := func(role string, risks ...any) (out []any) {
			for _, risk := range risks {
				out = append(out, role+": "+risk.(string))
			}
			return out
		}
		risks := func() []string { return policyNow(ctx, "p-"+ns).Status.Risks }
		adminOnly := of("admin",
			"its holder can change roles, within the holder's own rights; refused in the namespace of the grant while it lasts",
			"its holder can give its own rights to others; refused in the namespace of the grant while it lasts")
		Eventually(risks).WithContext(ctx).Should(ContainElements(append(append(of("edit", both...), of("admin", both...)...), adminOnly...)))
		Expect(risks()).NotTo(ContainElement(HavePrefix("edit: its holder can change roles")))

		nodes := builders.ClusterRole("nodes-"+ns, builders.Rule("", "nodes/proxy", "get"))
		nodes.Labels = map[string]string{"rbac.authorization.k8s.io/aggregate-to-edit": "true"}
		create(ctx, nodes)
		DeferCleanup(func(ctx SpecContext) { Expect(client.IgnoreNotFound(admin.Delete(ctx, nodes))).To(Succeed()) })
		const kubelets = "edit: its holder can talk to kubelets: run commands in all pods of a node, past audit and admission"
		Eventually(risks).WithContext(ctx).Should(ContainElement(kubelets))
		Expect(admin.Delete(ctx, nodes)).To(Succeed())
		Eventually(risks).WithContext(ctx).ShouldNot(ContainElement(kubelets))
	}, SpecTimeout(time.Minute))
})

func policyNow(ctx context.Context, name string) *v1alpha1.AccessPolicy {
	GinkgoHelper()
	p := &v1alpha1.AccessPolicy{}
	Expect(admin.Get(ctx, client.ObjectKey{Name: name}, p)).To(Succeed())
	return p
}
