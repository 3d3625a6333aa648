// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"encoding/json"
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

// mayEverything lets mallory do everything with requests: whatever is refused then is
// refused by schema or admission.
func mayEverything(ctx context.Context) client.Client {
	GinkgoHelper()
	const name = "mallory"
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "everything-" + name}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"lapse.dev"}, Resources: []string{"*"}, Verbs: []string{"*"}},
	}}
	Expect(client.IgnoreAlreadyExists(admin.Create(ctx, role))).To(Succeed())
	Expect(client.IgnoreAlreadyExists(admin.Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: name}},
	}))).To(Succeed())
	return user(name, "oncall")
}

var _ = Describe("The requester", func() {
	var (
		ns      string
		mallory client.Client
	)
	BeforeEach(func(ctx SpecContext) { ns, mallory = newNamespace(ctx), mayEverything(ctx) })

	DescribeTable("has no control character in its name", func(ctx SpecContext, name, group, message string) {
		u := object("AccessRequest", "default")
		set(u, "requester", map[string]any{"username": name, "groups": []any{group, "askers", "system:authenticated"}})
		set(u, "subject", map[string]any{"kind": "User", "name": "alice"})
		set(u, "notAfter", "2099-01-01T00:00:00Z")
		Expect(user(name, group).Create(ctx, u, client.DryRunAll)).To(MatchError(ContainSubstring(message)))
	},
		Entry("as a user", "mal\x1blory", "oncall", "username has a control character"),
		Entry("as a member of a group", "mallory", "on\x1bcall", "spec.requester.groups"),
	)

	falseNames := map[string]v1alpha1.Identity{
		"another user":      {Username: "alice"},
		"a group too many":  {Username: "mallory", Groups: []string{"oncall", "askers", "system:authenticated", "admins"}},
		"a group too few":   {Username: "mallory", Groups: []string{"oncall"}},
		"no groups":         {Username: "mallory"},
		"a uid":             {Username: "mallory", UID: "7", Groups: []string{"oncall", "askers", "system:authenticated"}},
		"a homoglyph":       {Username: "mаllory", Groups: []string{"oncall", "askers", "system:authenticated"}}, // Cyrillic а
		"the operator":      {Username: "system:serviceaccount:lapse-system:lapse-manager"},
		"a name with space": {Username: "mallory ", Groups: []string{"oncall", "askers", "system:authenticated"}},
	}
	// applied is the manifest of requestIn, with a requester unless it is nil. Where nothing
	// is stamped, it names him as the subject, too.
	applied := func(identity any) client.Patch {
		spec := map[string]any{"roleRef": map[string]any{"kind": "ClusterRole", "name": "reader"}, "reason": "INC-1: a test", "duration": "1m0s"}
		if identity != nil {
			spec["requester"] = identity
		}
		if who, named := identity.(v1alpha1.Identity); named && !stamps {
			subject, err := policy.GrantSubject(&v1alpha1.AccessRequestSpec{Requester: &who})
			Expect(err).NotTo(HaveOccurred())
			spec["subject"] = subject
		}
		manifest, err := json.Marshal(map[string]any{
			"apiVersion": "lapse.dev/v1alpha1", "kind": "AccessRequest", "metadata": map[string]any{"name": "request", "namespace": ns},
			"spec": spec,
		})
		Expect(err).NotTo(HaveOccurred())
		return client.RawPatch(types.ApplyPatchType, manifest)
	}

	It("is stamped, with the subject, as the API server authenticated it", aboutStamping, func(ctx SpecContext) {
		req := requestIn(ns)
		Expect(mallory.Create(ctx, req)).To(Succeed())
		Expect(req.Spec.Requester.Username).To(Equal("mallory"))
		Expect(req.Spec.Requester.Groups).To(ConsistOf("oncall", "askers", "system:authenticated"))
		Expect(*req.Spec.Subject).To(Equal(builders.User("mallory")))
	})

	It("may be given by hand if it is exactly true", func(ctx SpecContext) {
		req := builders.Request("true").In(ns).By("mallory", "oncall", "askers", "system:authenticated").Build()
		Expect(mallory.Create(ctx, req)).To(Succeed())
	})

	It("asks for nothing that is deleted already", func(ctx SpecContext) {
		req := builders.Request("gone").In(ns).By("mallory", "oncall", "askers", "system:authenticated").To(builders.User("mallory")).Build()
		req.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("AccessRequest"))
		req.DeletionTimestamp, req.DeletionGracePeriodSeconds = new(metav1.Now()), new(int64(1))
		manifest, err := json.Marshal(req)
		Expect(err).NotTo(HaveOccurred())
		err = mallory.Patch(ctx, req, client.RawPatch(types.ApplyPatchType, manifest), client.FieldOwner("mallory"))
		if err == nil { // from 1.37 on, the API server leaves it out
			Expect(req.DeletionTimestamp).To(BeNil())
			return
		}
		Expect(err).To(MatchError(ContainSubstring("metadata.deletionTimestamp must be left out when an AccessRequest is created")))
	})

	It("is a ServiceAccount when a ServiceAccount asks", func(ctx SpecContext) {
		Expect(admin.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "ci"}})).To(Succeed())
		bindCluster(ctx, "ci-"+ns, "lapse-requester", rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: "ci"})
		config, err := plane.ServiceAccountConfig(ctx, ns, "ci")
		Expect(err).NotTo(HaveOccurred())
		req := requestIn(ns)
		Expect(clientOf(config).Create(ctx, req)).To(Succeed())
		Expect(req.Spec.Requester.Username).To(Equal("system:serviceaccount:" + ns + ":ci"))
		Expect(*req.Spec.Subject).To(Equal(builders.ServiceAccount(ns, "ci")))
	})

	for what, identity := range falseNames {
		It("cannot be "+what+" by create, generateName, dry run or server-side apply", func(ctx SpecContext) {
			refused := MatchError(ContainSubstring("spec.requester must be left out or"))
			req := requestIn(ns)
			req.Spec.Requester = &identity
			Expect(mallory.Create(ctx, req.DeepCopy())).To(refused)
			Expect(mallory.Create(ctx, req.DeepCopy(), client.DryRunAll)).To(refused)
			generated := req.DeepCopy()
			generated.Name, generated.GenerateName = "", "spoof-"
			Expect(mallory.Create(ctx, generated)).To(refused)
			Expect(mallory.Patch(ctx, requestIn(ns), applied(identity), client.FieldOwner("spoof"))).To(refused)
			Expect(admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(MatchError(apierrors.IsNotFound, "not found"))
		})

		It("cannot become "+what+" by update or any kind of patch", func(ctx SpecContext) {
			req := requestIn(ns)
			Expect(mallory.Create(ctx, req)).To(Succeed())
			before := req.DeepCopy()
			req.Spec.Requester = &identity
			refused := MatchError(ContainSubstring("spec is immutable; create a new AccessRequest"))
			Expect(mallory.Update(ctx, req.DeepCopy())).To(refused)
			raw, err := json.Marshal(identity)
			Expect(err).NotTo(HaveOccurred())
			replace := fmt.Appendf(nil, `[{"op":"replace","path":"/spec/requester","value":%s}]`, raw)
			Expect(mallory.Patch(ctx, before.DeepCopy(), client.RawPatch(types.JSONPatchType, replace))).To(refused)
			// These merge: what leaves groups out may change nothing, and is let through.
			refusedOrNothing := Or(Succeed(), refused)
			merge := fmt.Appendf(nil, `{"spec":{"requester":%s}}`, raw)
			Expect(mallory.Patch(ctx, before.DeepCopy(), client.RawPatch(types.MergePatchType, merge))).To(refusedOrNothing)
			Expect(mallory.Patch(ctx, requestIn(ns), applied(identity), client.FieldOwner("spoof"), client.ForceOwnership)).To(refusedOrNothing)
			Expect(mallory.Patch(ctx, before.DeepCopy(), client.RawPatch(types.StrategicMergePatchType, []byte(`{}`)))).
				NotTo(Succeed(), "a CRD takes no strategic merge patch")
			after := &v1alpha1.AccessRequest{}
			Expect(admin.Get(ctx, client.ObjectKeyFromObject(req), after)).To(Succeed())
			Expect(after.Spec).To(Equal(before.Spec))
		})
	}

	It("cannot be created by updating what does not exist", func(ctx SpecContext) {
		req := requestIn(ns)
		req.Spec.Requester = &v1alpha1.Identity{Username: "alice"}
		req.ResourceVersion = "1"
		Expect(mallory.Update(ctx, req)).To(MatchError(apierrors.IsNotFound, "not found"))
	})

	It("stays as it is when a manifest without it is replaced and applied, and nobody owns it", aboutStamping, func(ctx SpecContext) {
		req := requestIn(ns)
		Expect(mallory.Create(ctx, req)).To(Succeed())
		spec := req.Spec.DeepCopy()
		for _, owner := range []string{"argocd", "flux"} {
			got := requestIn(ns)
			Expect(mallory.Patch(ctx, got, applied(nil), client.FieldOwner(owner))).To(Succeed(), "without force: nothing conflicts")
			Expect(got.Spec).To(Equal(*spec))
		}
		replaced := requestIn(ns)
		current := &v1alpha1.AccessRequest{}
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(req), current)).To(Succeed())
		replaced.ResourceVersion = current.ResourceVersion
		Expect(mallory.Update(ctx, replaced)).To(Succeed())
		Expect(replaced.Spec).To(Equal(*spec))
		for _, entry := range replaced.ManagedFields {
			Expect(entry.FieldsV1.GetRawString()).NotTo(ContainSubstring("f:requester"), entry.Manager)
		}
	})
})

var _ = Describe("The spec of a request", func() {
	It("takes no optional field after creation, by the schema alone", func(ctx SpecContext) {
		ns, mallory := newNamespace(ctx), mayEverything(ctx)
		req := builders.Request("request").In(ns).ForClusterRole("reader").Lasting(0).Build()
		Expect(mallory.Create(ctx, req)).To(Succeed())
		removeAdmission(ctx)
		for field, value := range map[string]string{
			"duration": `"24h"`, "notBefore": `"2026-12-01T00:00:00Z"`, "notAfter": `"2099-01-01T00:00:00Z"`, "policyName": `"other"`,
			"subject": `null`, "requester": `null`, "reason": `"INC-2: another"`, "roleRef": `{"kind":"ClusterRole","name":"writer"}`,
		} {
			for _, patch := range []client.Patch{
				client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{%q:%s}}`, field, value)),
			} {
				Expect(mallory.Patch(ctx, req.DeepCopy(), patch)).
					To(MatchError(ContainSubstring("spec is immutable; create a new AccessRequest")), field)
			}
		}
		Expect(mallory.Patch(ctx, req.DeepCopy(), client.RawPatch(types.JSONPatchType, []byte(`[{"op":"remove","path":"/spec"}]`)))).
			NotTo(Succeed())
	})
})

var _ = Describe("Status", func() {
	It("is written by the operator alone, whatever RBAC allows", func(ctx SpecContext) {
		ns, mallory := newNamespace(ctx), mayEverything(ctx)
		req := requestIn(ns)
		Expect(mallory.Create(ctx, req)).To(Succeed())
		refused := MatchError(ContainSubstring("only the operator writes status (ServiceAccount lapse-manager in namespace lapse-system)"))
		forged := req.DeepCopy()
		forged.Status.State = v1alpha1.StateActive
		for who, c := range map[string]client.Client{"mallory": mallory, "system:masters": admin} {
			Expect(c.Status().Update(ctx, forged.DeepCopy())).To(refused, who)
			Expect(c.Status().Patch(ctx, forged.DeepCopy(), client.MergeFrom(req))).To(refused, who)
			Expect(c.Status().Patch(ctx, req.DeepCopy(),
				client.RawPatch(types.JSONPatchType, []byte(`[{"op":"add","path":"/status/state","value":"Active"}]`)))).To(refused, who)
			applied := fmt.Appendf(nil, `{"apiVersion":"lapse.dev/v1alpha1","kind":"AccessRequest","metadata":{"name":%q,"namespace":%q},`+
				`"status":{"state":"Active"}}`, req.Name, ns)
			Expect(c.Status().Patch(ctx, req.DeepCopy(), client.RawPatch(types.ApplyPatchType, applied), client.FieldOwner("x"))).To(refused, who)
		}
		p := newPolicy(ctx, policyFor(ns))
		p.Status.ObservedGeneration = 9
		Expect(mallory.Status().Update(ctx, p)).To(refused)

		By("writing it through the object itself")
		forged.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: "True", Reason: "Granted", LastTransitionTime: metav1.Now()}}
		Expect(mallory.Update(ctx, forged)).To(Succeed())
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(Succeed())
		Expect(req.Status.State).To(BeEmpty())
	})

	It("that was forged while nothing guarded it never leads to a grant", func(ctx SpecContext) {
		h, ns, mallory := newHarness(), newNamespace(ctx), mayEverything(ctx)
		req := requestIn(ns)
		Expect(mallory.Create(ctx, req)).To(Succeed())
		removeAdmission(ctx)
		forged := req.DeepCopy()
		now := metav1.NewTime(h.clock.Now())
		forged.Status.State = v1alpha1.StateActive
		forged.Status.Policy = &v1alpha1.PolicyReference{Name: "none", UID: "none", Generation: 1}
		forged.Status.Grant = &v1alpha1.Grant{Binding: "lapse-x", GrantedAt: now, ExpiresAt: metav1.NewTime(now.AddDate(50, 0, 0))}
		Eventually(func() error { return mallory.Status().Patch(ctx, forged, client.MergeFrom(req)) }).WithContext(ctx).Should(Succeed())
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonPolicyWithdrawn))
		Expect(bindingOf(ctx, req)).To(BeNil())
	})
})

// removeAdmission takes all of Lapse's admission policies away for the rest of a spec.
func removeAdmission(ctx context.Context) {
	GinkgoHelper()
	DeferCleanup(func(ctx SpecContext) { Expect(install(ctx)).To(Succeed()) })
	Expect(operator.RemoveAdmission(ctx, plane)).To(Succeed())
}
