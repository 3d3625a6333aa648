// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

var _ = Describe("A role that changes while it is held", func() {
	// revokedWithin is how soon access has to be gone after the role changed.
	const revokedWithin = 2 * time.Second
	var ns, name string
	BeforeEach(func(ctx SpecContext) {
		ns = newNamespace(ctx)
		name = "drifts-" + ns
		create(ctx, builders.Bindable("clusterroles", name), builders.Bindable("roles", name))
	})
	held := func(ctx SpecContext, b builders.RequestBuilder) *v1alpha1.AccessRequest {
		GinkgoHelper()
		req := b.In(ns).Lasting(time.Hour).Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		eventually(ctx, req, v1alpha1.ReasonGranted)
		Eventually(func() bool { return aliceReads(ctx, ns) }).WithContext(ctx).Should(BeTrue())
		return req
	}
	told := func(ctx SpecContext, req *v1alpha1.AccessRequest, reason, message string) {
		GinkgoHelper()
		Eventually(func(g Gomega) {
			g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(Succeed())
			c := meta.FindStatusCondition(req.Status.Conditions, v1alpha1.ConditionRoleChanged)
			g.Expect(c).NotTo(BeNil())
			g.Expect(c.Reason).To(Equal(reason))
			g.Expect(c.Message).To(Equal(message))
		}).WithContext(ctx).Should(Succeed())
	}
	gone := func(ctx SpecContext, what string, begun time.Time) {
		GinkgoHelper()
		Eventually(func() bool { return aliceReads(ctx, ns) }).WithContext(ctx).WithPolling(5 * time.Millisecond).Should(BeFalse())
		took := time.Since(begun)
		AddReportEntry("revoked", fmt.Sprintf("%s: access was gone %s after the change", what, took.Round(time.Millisecond)))
		Expect(took).To(BeNumerically("<", revokedWithin))
	}

	It("by a label that aggregates more into it is told, with the rule, and goes away with the label", func(ctx SpecContext) {
		newPolicy(ctx, builders.Policy("p-"+ns).Allowing(name).In(ns))
		aggregated(ctx, name)
		piece(ctx, name, "base", builders.Rule("", "configmaps", "get", "list"))
		startManager(ctx)
		filled(ctx, name, 1)
		req := held(ctx, builders.Request("aggregated").ForClusterRole(name))
		extra := piece(ctx, name, "extra", builders.Rule("", "secrets", "get", "list"), builders.Rule("apps", "deployments", "patch"))
		told(ctx, req, v1alpha1.ReasonRoleGrew, `ClusterRole "`+name+
			`" changed: it allows more than when access was given: get, list on secrets; patch on deployments.apps`)
		Expect(req).To(haveReason(v1alpha1.ReasonGranted))
		Eventually(func() []string { return eventNotes(ctx, req, v1alpha1.ReasonRoleGrew) }).WithContext(ctx).
			Should(HaveExactElements(ContainSubstring("get, list on secrets")))

		extra.Labels = nil
		Expect(admin.Update(ctx, extra)).To(Succeed())
		Eventually(func(g Gomega) {
			g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(Succeed())
			g.Expect(meta.FindStatusCondition(req.Status.Conditions, v1alpha1.ConditionRoleChanged)).To(BeNil())
		}).WithContext(ctx).Should(Succeed())
	}, SpecTimeout(time.Minute))

	It("takes the access along within 2 s where the policy says so, however it grew", func(ctx SpecContext) {
		newPolicy(ctx, builders.Policy("p-"+ns).Allowing(name).AllowingRole(name).In(ns).OnRoleChange(v1alpha1.RoleChangeRevoke))
		aggregated(ctx, name)
		piece(ctx, name, "base", builders.Rule("", "configmaps", "get", "list"))
		startManager(ctx)
		filled(ctx, name, 1)

		By("aggregating more into it")
		req := held(ctx, builders.Request("aggregated").ForClusterRole(name))
		begun := time.Now()
		piece(ctx, name, "extra", builders.Rule("", "secrets", "get"))
		gone(ctx, "aggregated", begun)
		eventually(ctx, req, v1alpha1.ReasonRoleChanged)
		ready := meta.FindStatusCondition(req.Status.Conditions, v1alpha1.ConditionReady)
		Expect(ready.Message).To(Equal(`ClusterRole "` + name +
			`" changed: it allows more than when access was given: get on secrets; policy p-` + ns + " says onRoleChange: Revoke"))

		By("editing the rules of a Role")
		local := &rbacv1.Role{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Rules: []rbacv1.PolicyRule{builders.Rule("", "configmaps", "get", "list")},
		}
		Expect(admin.Create(ctx, local.DeepCopy())).To(Succeed())
		req = held(ctx, builders.Request("edited").ForRole(name))
		wider := local.DeepCopy()
		wider.Rules = append(wider.Rules, builders.Rule("", "pods/exec", "create"))
		begun = time.Now()
		Expect(admin.Update(ctx, wider)).To(Succeed())
		gone(ctx, "edited", begun)
		eventually(ctx, req, v1alpha1.ReasonRoleChanged)

		By("deleting a Role and creating it again, the same")
		Expect(admin.Update(ctx, local.DeepCopy())).To(Succeed())
		req = held(ctx, builders.Request("replaced").ForRole(name))
		begun = time.Now()
		Expect(admin.Delete(ctx, local.DeepCopy())).To(Succeed())
		Expect(admin.Create(ctx, local.DeepCopy())).To(Succeed())
		eventually(ctx, req, v1alpha1.ReasonRoleChanged)
		gone(ctx, "replaced", begun)

		By("taking rules away, which ends nothing")
		req = held(ctx, builders.Request("narrowed").ForRole(name))
		narrower := &rbacv1.Role{}
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(local), narrower)).To(Succeed())
		narrower.Rules[0].Verbs = []string{"get"}
		Expect(admin.Update(ctx, narrower)).To(Succeed())
		Consistently(func(g Gomega) {
			g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(Succeed())
			g.Expect(req).To(haveReason(v1alpha1.ReasonGranted))
			g.Expect(meta.FindStatusCondition(req.Status.Conditions, v1alpha1.ConditionRoleChanged)).To(BeNil())
		}, "2s").WithContext(ctx).Should(Succeed())
	}, SpecTimeout(90*time.Second))

	It("while the manager is down is told when it is back, and the other grants cost no write", func(ctx SpecContext) {
		const grants = 100
		newPolicy(ctx, builders.Policy("p-"+ns).Allowing("reader").AllowingRole(name).In(ns))
		local := &rbacv1.Role{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Rules: []rbacv1.PolicyRule{builders.Rule("", "configmaps", "get", "list")},
		}
		Expect(admin.Create(ctx, local)).To(Succeed())
		m := startManager(ctx)
		askMany(ctx, alice, grants, func(i int) builders.RequestBuilder {
			return builders.Request(fmt.Sprintf("many-%03d", i)).In(ns).ForClusterRole("reader").Lasting(time.Hour)
		})
		req := held(ctx, builders.Request("down").ForRole(name))
		Eventually(func() int {
			list := &v1alpha1.AccessRequestList{}
			Expect(admin.List(ctx, list, client.InNamespace(ns), client.MatchingFields{"status.state": string(v1alpha1.StateActive)})).To(Succeed())
			return len(list.Items)
		}).WithContext(ctx).Should(Equal(grants + 1))
		Expect(m.Kill()).To(Succeed())
		local.Rules = append(local.Rules, builders.Rule("", "secrets", "list"))
		Expect(admin.Update(ctx, local)).To(Succeed())

		mark, err := plane.AuditMark()
		Expect(err).NotTo(HaveOccurred())
		startManager(ctx)
		told(ctx, req, v1alpha1.ReasonRoleGrew, `Role "`+name+`" changed: it allows more than when access was given: list on secrets`)
		writes := func() (out []string) {
			events, err := plane.Writes(mark, operator.Username)
			Expect(err).NotTo(HaveOccurred())
			for _, e := range events {
				if e.ObjectRef.Namespace == ns && e.ObjectRef.Resource != "events" {
					out = append(out, e.Verb+" "+e.ObjectRef.Resource+"/"+e.ObjectRef.Subresource+" "+e.ObjectRef.Name)
				}
			}
			return out
		}
		Consistently(writes, "3s").WithContext(ctx).Should(Equal([]string{"patch accessrequests/status down"}))
	}, SpecTimeout(90*time.Second))
})

// aggregated is a ClusterRole that is filled by its pieces.
func aggregated(ctx context.Context, name string) {
	GinkgoHelper()
	role := builders.ClusterRole(name)
	role.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{
		{MatchLabels: map[string]string{"example.com/aggregate-to": name}},
	}}
	create(ctx, role)
}

// piece is a ClusterRole that is aggregated into another one.
func piece(ctx context.Context, of, name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	GinkgoHelper()
	p := builders.ClusterRole(of+"-"+name, rules...)
	p.Labels = map[string]string{"example.com/aggregate-to": of}
	create(ctx, p)
	return p
}

// filled waits until a ClusterRole has so many rules.
func filled(ctx context.Context, name string, rules int) {
	GinkgoHelper()
	Eventually(func() int {
		role := &rbacv1.ClusterRole{}
		Expect(admin.Get(ctx, client.ObjectKey{Name: name}, role)).To(Succeed())
		return len(role.Rules)
	}).WithContext(ctx).Should(Equal(rules))
}

// aliceReads asks the API server whether alice may read ConfigMaps.
func aliceReads(ctx context.Context, namespace string) bool {
	GinkgoHelper()
	may, err := operator.Allowed(ctx, admin, "alice", "get", "configmaps", namespace)
	Expect(err).NotTo(HaveOccurred())
	return may
}

// eventNotes are what the Events on a request with a reason say.
func eventNotes(ctx context.Context, req *v1alpha1.AccessRequest, reason string) []string {
	GinkgoHelper()
	list := &eventsv1.EventList{}
	Expect(admin.List(ctx, list, client.InNamespace(req.Namespace))).To(Succeed())
	var out []string
	for i := range list.Items {
		if e := &list.Items[i]; e.Regarding.UID == req.UID && e.Reason == reason {
			out = append(out, e.Note)
		}
	}
	return out
}
