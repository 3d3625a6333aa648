// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

const stolenUID = "12345678-0000-0000-0000-000000000000"

// forged is a binding that the operator could have made just now, without a request.
func forged(ns string) *rbacv1.RoleBinding {
	now := time.Now().UTC().Truncate(time.Second)
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: ns, Name: "lapse-forged-12345678",
			Labels: map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy, v1alpha1.RequestUIDLabel: stolenUID},
			Annotations: map[string]string{
				v1alpha1.ExpiresAtAnnotation: now.Add(24 * time.Hour).Format(time.RFC3339),
				v1alpha1.CreateByAnnotation:  now.Add(10 * time.Second).Format(time.RFC3339),
				v1alpha1.RequestAnnotation:   "forged", v1alpha1.PolicyAnnotation: "none",
			},
			OwnerReferences: []metav1.OwnerReference{
				{APIVersion: v1alpha1.GroupVersion.String(), Kind: "AccessRequest", Name: "forged", UID: stolenUID},
			},
		},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "reader"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "eve"}},
	}
}

func annotate(key, value string) func(*rbacv1.RoleBinding) {
	return func(b *rbacv1.RoleBinding) { b.Annotations[key] = value }
}

func subject(s rbacv1.Subject) func(*rbacv1.RoleBinding) {
	return func(b *rbacv1.RoleBinding) { b.Subjects = []rbacv1.Subject{s} }
}

func inUTC(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }

var _ = Describe("The label by which the operator finds its bindings", func() {
	It("is refused to RoleBindings of others, which it would have to keep in memory", func(ctx SpecContext) {
		b := forged(newNamespace(ctx))
		b.Name = "mine"
		refused := MatchError(ContainSubstring("label lapse.dev/request-uid is for the RoleBindings of Lapse alone; leave it out"))
		Expect(admin.Create(ctx, b.DeepCopy())).To(refused)
		delete(b.Labels, v1alpha1.RequestUIDLabel)
		Expect(admin.Create(ctx, b)).To(Succeed())
		b.Labels[v1alpha1.RequestUIDLabel] = stolenUID
		Expect(admin.Update(ctx, b)).To(refused)
	})
})

// Whoever has the operator's token is the operator to the API server.
var _ = Describe("A stolen token of the operator", func() {
	It("makes what the operator can make, so that the refusals below are for what they say", func(ctx SpecContext) {
		Expect(asOperator.Create(ctx, forged(newNamespace(ctx)))).To(Succeed())
	})

	const (
		expiryForm   = "annotation lapse.dev/expires-at must be a time in UTC and whole seconds, such as 2026-12-01T18:00:00Z"
		createByForm = "annotation lapse.dev/create-by must be a time in UTC and whole seconds, such as 2026-12-01T18:00:00Z"
		ownLabels    = "labels app.kubernetes.io/managed-by (lapse) and lapse.dev/request-uid (the UID of the AccessRequest) must be set"
		oneOwner     = "metadata.ownerReferences must be the AccessRequest of label lapse.dev/request-uid and annotation lapse.dev/request alone"
		noSystem     = "subjects may hold no User or Group whose name begins with system:, which are Kubernetes' own"
		noOperator   = "subjects may hold no ServiceAccount of lapse-system, the namespace of the operator"
		subjectForm  = "a ServiceAccount in subjects must have the name of a namespace, and a User or Group none"
		ownRoles     = "the roles of the operator and the reaper, lapse-manager, lapse-granting, lapse-bindable and lapse-reaper, are " +
			"granted to nobody"
		oneSubject = "subjects must hold exactly one subject"
		ownName    = "the operator of Lapse may write only RoleBindings whose name begins with lapse-"
		uidInName  = "the name must end with - and the first eight characters of label lapse.dev/request-uid"
	)
	const wholeName = "the name must be lapse-, the name of the AccessRequest in annotation lapse.dev/request, cut to 48 characters, and -, " +
		"the first eight characters of label lapse.dev/request-uid"
	account := func(ns, name string) rbacv1.Subject {
		return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: name}
	}
	DescribeTable("binds nothing",
		func(ctx SpecContext, change func(*rbacv1.RoleBinding), refused string) {
			b := forged(newNamespace(ctx))
			change(b)
			Expect(asOperator.Create(ctx, b)).To(MatchError(And(ContainSubstring(
				"ValidatingAdmissionPolicy 'lapse-managed-binding' with binding 'lapse-managed-binding' denied request: "), HaveSuffix(refused))))
		},
		Entry("under another name", func(b *rbacv1.RoleBinding) { b.Name = "forged-12345678" }, ownName),
		Entry("under a generated name", func(b *rbacv1.RoleBinding) { b.Name, b.GenerateName = "", "forged-" }, ownName),
		Entry("under the name of another request", func(b *rbacv1.RoleBinding) { b.Name = "lapse-forged-87654321" }, uidInName),
		Entry("under a second name of a request", func(b *rbacv1.RoleBinding) { b.Name = "lapse-more-12345678" }, wholeName),
		Entry("under a part of the name of a request", func(b *rbacv1.RoleBinding) { b.Name = "lapse-forge-12345678" }, wholeName),
		Entry("without an expiry", func(b *rbacv1.RoleBinding) { delete(b.Annotations, v1alpha1.ExpiresAtAnnotation) }, expiryForm),
		Entry("without annotations", func(b *rbacv1.RoleBinding) { b.Annotations = nil }, oneOwner),
		Entry("with an unreadable expiry", annotate(v1alpha1.ExpiresAtAnnotation, "never"), expiryForm),
		Entry("with an expiry in another zone", annotate(v1alpha1.ExpiresAtAnnotation, "2026-12-01T18:00:00+14:00"), expiryForm),
		Entry("with an expiry in a month that is none", annotate(v1alpha1.ExpiresAtAnnotation, "2026-13-01T18:00:00Z"), expiryForm),
		Entry("with more than an expiry in it", annotate(v1alpha1.ExpiresAtAnnotation, "2026-12-01T18:00:00Z\n2099-01-01T00:00:00Z"), expiryForm),
		Entry("without create-by", func(b *rbacv1.RoleBinding) { delete(b.Annotations, v1alpha1.CreateByAnnotation) }, createByForm),
		Entry("with an unreadable create-by", annotate(v1alpha1.CreateByAnnotation, "2026-12-01"), createByForm),
		Entry("without the label of a request", func(b *rbacv1.RoleBinding) { delete(b.Labels, v1alpha1.RequestUIDLabel) }, ownLabels),
		Entry("with the label of somebody else", func(b *rbacv1.RoleBinding) { b.Labels[v1alpha1.ManagedByLabel] = "helm" }, ownLabels),
		Entry("without an owner", func(b *rbacv1.RoleBinding) { b.OwnerReferences = nil }, oneOwner),
		Entry("with two owners", func(b *rbacv1.RoleBinding) {
			b.OwnerReferences = append(b.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "x", UID: "x"})
		}, oneOwner),
		Entry("owned by another kind", func(b *rbacv1.RoleBinding) { b.OwnerReferences[0].Kind = "AccessPolicy" }, oneOwner),
		Entry("owned by another API group", func(b *rbacv1.RoleBinding) { b.OwnerReferences[0].APIVersion = "example.com/v1" }, oneOwner),
		Entry("owned by another request", func(b *rbacv1.RoleBinding) { b.OwnerReferences[0].UID = "x" }, oneOwner),
		Entry("in the name of another request", annotate(v1alpha1.RequestAnnotation, "other"), oneOwner),
		Entry("with a finalizer", func(b *rbacv1.RoleBinding) { b.Finalizers = []string{"example.com/pin"} },
			"metadata.finalizers must be empty, since a finalizer keeps the access"),
		Entry("for nobody", func(b *rbacv1.RoleBinding) { b.Subjects = nil }, oneSubject),
		Entry("for two", func(b *rbacv1.RoleBinding) { b.Subjects = append(b.Subjects, account("default", "default")) }, oneSubject),
		Entry("for system:masters", subject(rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: "system:masters"}),
			noSystem),
		Entry("for everybody", subject(rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: "system:authenticated"}),
			noSystem),
		Entry("for itself as a User", subject(rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: operator.Username}),
			noSystem),
		Entry("for itself", subject(account(operator.Namespace, operator.ServiceAccount)), noOperator),
		Entry("for a neighbour in its namespace", subject(account(operator.Namespace, "default")), noOperator),
		Entry("for a ServiceAccount of no namespace", subject(account("", "default")), subjectForm),
		Entry("for a ServiceAccount of what is no namespace", subject(account("a:b", "default")), subjectForm),
		Entry("for a User of a namespace", subject(rbacv1.Subject{
			Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "eve", Namespace: "default",
		}), subjectForm),
		Entry("in its own namespace", func(b *rbacv1.RoleBinding) { b.Namespace = operator.Namespace },
			"nothing is granted in lapse-system, the namespace of the operator"),
		Entry("of its own role", func(b *rbacv1.RoleBinding) { b.RoleRef.Name = "lapse-manager" }, ownRoles),
		Entry("of its own right to grant", func(b *rbacv1.RoleBinding) { b.RoleRef.Name = "lapse-granting" }, ownRoles),
		Entry("of its own right to bind", func(b *rbacv1.RoleBinding) { b.RoleRef.Name = "lapse-bindable" }, ownRoles),
		Entry("of the role of the reaper", func(b *rbacv1.RoleBinding) { b.RoleRef.Name = "lapse-reaper" }, ownRoles),
	)

	It("binds nothing in a namespace of Kubernetes itself", func(ctx SpecContext) {
		Expect(client.IgnoreAlreadyExists(admin.Create(ctx, builders.Namespace("kube-vault")))).To(Succeed())
		for _, ns := range []string{"kube-system", "kube-public", "kube-node-lease", "kube-vault"} {
			Expect(asOperator.Create(ctx, forged(ns))).To(MatchError(HaveSuffix(
				"ValidatingAdmissionPolicy 'lapse-reserved-namespaces' with binding 'lapse-reserved-namespaces' denied request: " +
					`nothing is granted in namespace "` + ns + `", nor in any other whose name begins with kube-; ` +
					"config/overlays/open-kube-namespaces says how to open them")))
		}
		for _, ns := range []string{"kube", "my-kube-system"} {
			Expect(client.IgnoreAlreadyExists(admin.Create(ctx, builders.Namespace(ns)))).To(Succeed())
			Expect(asOperator.Create(ctx, forged(ns), client.DryRunAll)).To(Succeed(), "%s is a namespace like others", ns)
		}

		By("having the policy taken away, without which it could")
		removeGuard(ctx, operator.ReservedGuard)
		Expect(asOperator.Create(ctx, forged("kube-system"), client.DryRunAll)).To(Succeed())
	})

	// The garbage collector waits for what counts as deleted to go by itself.
	It("makes none that counts as deleted, which would outlive its request", func(ctx SpecContext) {
		b := forged(newNamespace(ctx))
		b.DeletionTimestamp, b.DeletionGracePeriodSeconds = new(metav1.Now()), new(int64(1))
		err := asOperator.Update(ctx, b) // which makes it
		if err == nil {
			Expect(b.DeletionTimestamp).To(BeNil()) // from Kubernetes 1.37 on, the API server leaves it out
			return
		}
		Expect(err).To(MatchError(HaveSuffix("denied request: metadata.deletionTimestamp must be left out when a RoleBinding is created")))
	})

	It("holds nothing by a second binding of a request whose name is cut", func(ctx SpecContext) {
		h, ns, alice := newHarness(), newNamespace(ctx), user("alice")
		newPolicy(ctx, policyFor(ns))
		req := h.granted(ctx, alice, builders.Request(strings.Repeat("a", 60)).In(ns).ForClusterRole("reader").Lasting(time.Hour).Build())
		second := bindingOf(ctx, req)
		second.ObjectMeta = metav1.ObjectMeta{
			Namespace: ns, Name: "lapse-aaa-" + string(req.UID[:8]),
			Labels: second.Labels, Annotations: second.Annotations, OwnerReferences: second.OwnerReferences,
		}
		second.Annotations[v1alpha1.CreateByAnnotation] = inUTC(10 * time.Second)
		second.Subjects[0].Name = "eve"
		Expect(asOperator.Create(ctx, second)).To(Succeed())
		err := h.end(ctx, client.ObjectKeyFromObject(second))
		Expect(err).NotTo(HaveOccurred())
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(second), second)).To(MatchError(apierrors.IsNotFound, "not found"))
		Expect(bindingOf(ctx, req)).NotTo(BeNil(), "the first one is its grant")
	})

	It("binds for no longer than the ceiling, by the server's clock", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		b := forged(ns)
		for _, late := range []string{inUTC(24*time.Hour + 40*time.Second), "2099-01-01T00:00:00Z", "9999-12-31T23:59:59Z"} {
			b.Annotations[v1alpha1.ExpiresAtAnnotation] = late
			Expect(asOperator.Create(ctx, b.DeepCopy())).To(MatchError(ContainSubstring(
				"denied request: annotation lapse.dev/expires-at " + late + " is more than 24 hours after now, ")))
		}
		b.Annotations[v1alpha1.ExpiresAtAnnotation] = inUTC(24*time.Hour + 20*time.Second)
		Expect(asOperator.Create(ctx, b)).To(Succeed())
	})

	It("grants nothing that was decided too long ago, nor ahead of time", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		b := forged(ns)
		b.Annotations[v1alpha1.CreateByAnnotation] = inUTC(-2 * time.Second)
		Expect(asOperator.Create(ctx, b.DeepCopy())).To(MatchError(ContainSubstring(
			"denied request: decided too long ago: annotation lapse.dev/create-by " + b.Annotations[v1alpha1.CreateByAnnotation] +
				" is before now, ")))
		b.Annotations[v1alpha1.CreateByAnnotation] = inUTC(70 * time.Second)
		Expect(asOperator.Create(ctx, b.DeepCopy())).To(MatchError(ContainSubstring(
			"denied request: annotation lapse.dev/create-by " + b.Annotations[v1alpha1.CreateByAnnotation] +
				" is more than 60 seconds after now, ")))
		b.Annotations[v1alpha1.CreateByAnnotation] = inUTC(50 * time.Second)
		Expect(asOperator.Create(ctx, b)).To(Succeed())
	})

	It("binds no role that no admin lets it bind", func(ctx SpecContext) {
		b := forged(newNamespace(ctx))
		b.RoleRef.Name = "forbidden"
		Expect(asOperator.Create(ctx, b)).To(MatchError(ContainSubstring(
			`user "system:serviceaccount:lapse-system:lapse-manager" (groups=["system:serviceaccounts" "system:serviceaccounts:lapse-system" ` +
				`"system:authenticated"]) ` +
				"is attempting to grant RBAC permissions not currently held")))
	})

	It("changes no binding but to end it", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		others := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "others"}, RoleRef: forged(ns).RoleRef}
		Expect(admin.Create(ctx, others)).To(Succeed())
		adopted := others.DeepCopy()
		adopted.Labels, adopted.Annotations, adopted.OwnerReferences = forged(ns).Labels, forged(ns).Annotations, forged(ns).OwnerReferences
		Expect(asOperator.Update(ctx, adopted)).To(MatchError(HaveSuffix(ownName)))
		given := others.DeepCopy()
		given.Subjects = forged(ns).Subjects
		Expect(asOperator.Update(ctx, given)).To(MatchError(HaveSuffix(ownName)))
		emptied := others.DeepCopy()
		emptied.Subjects = nil
		Expect(asOperator.Update(ctx, emptied)).To(MatchError(HaveSuffix(ownName)))

		b := forged(ns)
		Expect(asOperator.Create(ctx, b)).To(Succeed())
		refused := MatchError(ContainSubstring(`denied request: ` +
			`RoleBinding "lapse-forged-12345678" belongs to Lapse and may only lose subjects and finalizers; ` +
			`to end the access, delete it or its AccessRequest "forged"`))
		put := func(change func(*rbacv1.RoleBinding)) error {
			changed := b.DeepCopy()
			change(changed)
			changed.ResourceVersion = ""
			return asOperator.Update(ctx, changed)
		}
		Expect(put(annotate(v1alpha1.ExpiresAtAnnotation, inUTC(24*time.Hour+20*time.Second)))).To(refused)
		Expect(put(subject(account("default", "default")))).To(refused)
		Expect(put(func(b *rbacv1.RoleBinding) { b.OwnerReferences = nil })).To(refused)
		Expect(put(func(b *rbacv1.RoleBinding) { b.Finalizers = []string{"example.com/pin"} })).To(refused)
		Expect(put(func(b *rbacv1.RoleBinding) { b.Subjects, b.Finalizers = nil, []string{"example.com/pin"} })).
			To(refused, "not even while it empties it")

		By("emptying it with a copy that is old")
		Expect(put(func(b *rbacv1.RoleBinding) { b.Subjects, b.Labels, b.Annotations = nil, nil, nil })).To(Succeed())
		Expect(put(func(*rbacv1.RoleBinding) {})).
			To(MatchError(ContainSubstring("may only lose subjects and finalizers")), "never to be filled again")
		Expect(put(func(b *rbacv1.RoleBinding) { b.Subjects = nil })).
			To(MatchError(ContainSubstring("may only lose subjects and finalizers")), "nor to be told otherwise")
	})

	It("may take off what pins a binding, and the collector its owner, and neither more", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		restore, err := operator.RemoveGuard(ctx, plane, operator.ManagedBindingGuard)
		Expect(err).NotTo(HaveOccurred())
		b := forged(ns)
		b.Finalizers = []string{"example.com/pin", "example.com/other"}
		Expect(admin.Create(ctx, b)).To(Succeed())
		Expect(restore(ctx)).To(Succeed())
		collector, err := plane.User("system:kube-controller-manager", "system:masters")
		Expect(err).NotTo(HaveOccurred())
		b.Finalizers = b.Finalizers[:1]
		Expect(asOperator.Update(ctx, b)).To(Succeed())
		collect := func(body string) error {
			return clientOf(collector).Patch(ctx, b.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(body)))
		}
		refused := MatchError(ContainSubstring("may only lose subjects and finalizers"))
		Expect(collect(`{"metadata":{"ownerReferences":null,"annotations":null}}`)).To(refused)
		Expect(collect(`{"metadata":{"ownerReferences":null,"labels":null}}`)).To(refused)
		Expect(collect(`{"metadata":{"ownerReferences":null,"finalizers":["example.com/pin","example.com/more"]}}`)).To(refused)
		Expect(collect(`{"metadata":{"ownerReferences":null},"subjects":null}`)).To(refused)
		Expect(collect(`{"metadata":{"ownerReferences":null,"finalizers":null}}`)).To(Succeed())
	})

	It("does nothing else with the cluster", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		for what, attempt := range otherAttempts(ns) {
			Expect(attempt(ctx)).To(MatchError(ContainSubstring(`User "`+operator.Username+`" cannot `+what)), what)
		}
		// Kubernetes 1.36 says which kind of impersonation it is.
		Expect(actAsAdmin(ctx, ns)).To(MatchError(MatchRegexp(`User "` + operator.Username +
			`" cannot (impersonate resource "users"|impersonate-on:user-info:list resource "configmaps")`)))
	})

	It("asks for nothing that it decides itself", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		newPolicy(ctx, policyFor(ns))
		req := requestIn(ns)
		Expect(user("alice").Create(ctx, req)).To(Succeed())
		changed := req.DeepCopy()
		changed.Spec.Reason = "INC-2: another"
		Expect(asOperator.Update(ctx, changed)).
			To(MatchError(ContainSubstring(`cannot update resource "accessrequests" in API group "lapse.dev"`)))
		Expect(asOperator.Create(ctx, builders.Decision("yes", req, v1alpha1.VerdictApprove))).
			To(MatchError(ContainSubstring(`cannot create resource "accessdecisions" in API group "lapse.dev"`)))
	})
})

// otherAttempts are what the operator's RBAC does not have, by what it is told.
func otherAttempts(ns string) map[string]func(context.Context) error {
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }
	within := metav1.ObjectMeta{Namespace: ns, Name: "x"}
	create := func(obj client.Object) func(context.Context) error {
		return func(ctx context.Context) error { return asOperator.Create(ctx, obj) }
	}
	update := func(obj client.Object) func(context.Context) error {
		return func(ctx context.Context) error { obj.SetResourceVersion("1"); return asOperator.Update(ctx, obj) }
	}
	remove := func(obj client.Object) func(context.Context) error {
		return func(ctx context.Context) error { return asOperator.Delete(ctx, obj) }
	}
	attempts := map[string]func(context.Context) error{
		`update resource "roles"`:        update(&rbacv1.Role{ObjectMeta: within}),
		`create resource "roles"`:        create(&rbacv1.Role{ObjectMeta: within}),
		`update resource "clusterroles"`: update(&rbacv1.ClusterRole{ObjectMeta: named("reader")}),
		`create resource "clusterroles"`: create(&rbacv1.ClusterRole{
			ObjectMeta: metav1.ObjectMeta{Name: "more", Labels: map[string]string{v1alpha1.BindableLabel: "true"}},
		}),
		`create resource "clusterrolebindings"`: create(&rbacv1.ClusterRoleBinding{
			ObjectMeta: named("x"), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "reader"},
		}),
		`patch resource "rolebindings"`: func(ctx context.Context) error {
			return asOperator.Patch(ctx, forged(ns), client.RawPatch(types.MergePatchType, []byte(`{}`)))
		},
		`deletecollection resource "rolebindings"`: func(ctx context.Context) error {
			return asOperator.DeleteAllOf(ctx, &rbacv1.RoleBinding{}, client.InNamespace(ns))
		},
		`get resource "secrets"`: func(ctx context.Context) error {
			return asOperator.Get(ctx, client.ObjectKey{Namespace: ns, Name: "x"}, &corev1.Secret{})
		},
		`list resource "secrets"`:   func(ctx context.Context) error { return asOperator.List(ctx, &corev1.SecretList{}) },
		`create resource "secrets"`: create(&corev1.Secret{ObjectMeta: within}),
		`create resource "serviceaccounts/token"`: func(ctx context.Context) error {
			own := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: operator.Namespace, Name: operator.ServiceAccount}}
			return asOperator.SubResource("token").Create(ctx, own, &authenticationv1.TokenRequest{})
		},
		`create resource "serviceaccounts"`: create(&corev1.ServiceAccount{ObjectMeta: within}),
		`create resource "pods"`:            create(&corev1.Pod{ObjectMeta: within}),
		`create resource "deployments"`:     create(&appsv1.Deployment{ObjectMeta: within}),
		`update resource "deployments"`: update(&appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: operator.Namespace, Name: operator.ServiceAccount},
		}),
		`update resource "namespaces"`:                  update(&corev1.Namespace{ObjectMeta: named(ns)}),
		`create resource "accesspolicies"`:              create(builders.Policy("mine").Build()),
		`update resource "accesspolicies"`:              update(builders.Policy("mine").Build()),
		`delete resource "accesspolicies"`:              remove(builders.Policy("mine").Build()),
		`create resource "validatingadmissionpolicies"`: create(&admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: named("x")}),
		`delete resource "validatingadmissionpolicies"`: remove(&admissionregistrationv1.ValidatingAdmissionPolicy{
			ObjectMeta: named(operator.ManagedBindingGuard),
		}),
		`update resource "validatingadmissionpolicies"`: update(&admissionregistrationv1.ValidatingAdmissionPolicy{
			ObjectMeta: named(operator.ManagedBindingGuard),
		}),
		`delete resource "validatingadmissionpolicybindings"`: remove(&admissionregistrationv1.ValidatingAdmissionPolicyBinding{
			ObjectMeta: named(operator.ManagedBindingGuard),
		}),
		`create resource "validatingwebhookconfigurations"`: create(&admissionregistrationv1.ValidatingWebhookConfiguration{
			ObjectMeta: named("x"),
		}),
	}
	if stamps {
		attempts[`create resource "mutatingadmissionpolicies"`] = create(&admissionregistrationv1.MutatingAdmissionPolicy{ObjectMeta: named("x")})
	}
	return attempts
}

// actAsAdmin lists ConfigMaps as somebody who may.
func actAsAdmin(ctx context.Context, namespace string) error {
	config, err := plane.ServiceAccountConfig(ctx, operator.Namespace, operator.ServiceAccount)
	if err != nil {
		return err
	}
	config.Impersonate = rest.ImpersonationConfig{UserName: "admin"}
	acting, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	_, err = acting.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{})
	return err
}
