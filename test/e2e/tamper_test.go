// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

// victim is a managed binding, and alice who holds admin by it.
type victim struct {
	ns      string
	req     *v1alpha1.AccessRequest
	binding *rbacv1.RoleBinding
	// mallory is an admin of the namespace for good.
	mallory client.Client
}

var eve = rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "eve"}

// put writes the binding as alice, changed.
func put(change func(*rbacv1.RoleBinding)) func(context.Context, *victim) error {
	return func(ctx context.Context, v *victim) error {
		b := v.binding.DeepCopy()
		change(b)
		return alice.Update(ctx, b)
	}
}

// patch patches the binding as alice. NAME stands for its name.
func patch(kind types.PatchType, body string) func(context.Context, *victim) error {
	return func(ctx context.Context, v *victim) error {
		body := strings.ReplaceAll(body, "NAME", v.binding.Name)
		raw := client.RawPatch(kind, []byte(body))
		if kind == types.ApplyPatchType {
			return alice.Patch(ctx, v.binding.DeepCopy(), raw, client.FieldOwner("alice"), client.ForceOwnership)
		}
		return alice.Patch(ctx, v.binding.DeepCopy(), raw)
	}
}

const applied = `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","metadata":{"name":"NAME"%s},` +
	`"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"admin"}%s}`

// tampering are ways to change or pin a managed binding, by who holds admin by it.
var tampering = map[string]func(context.Context, *victim) error{
	"a subject added by PUT": put(func(b *rbacv1.RoleBinding) { b.Subjects = append(b.Subjects, eve) }),
	"the subject replaced":   put(func(b *rbacv1.RoleBinding) { b.Subjects = []rbacv1.Subject{eve} }),
	"a subject added by JSON patch": patch(types.JSONPatchType,
		`[{"op":"add","path":"/subjects/-","value":{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"eve"}}]`),
	"a subject added by merge patch": patch(types.MergePatchType, `{"subjects":[{"apiGroup":"rbac.authorization.k8s.io",`+
		`"kind":"User","name":"alice"},{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"eve"}]}`),
	"subjects set by strategic merge patch": patch(types.StrategicMergePatchType,
		`{"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"eve"}]}`),
	"subjects set by server-side apply": patch(types.ApplyPatchType,
		fmt.Sprintf(applied, "", `,"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"alice"},`+
			`{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"eve"}]`)),
	"the subject many times": patch(types.JSONPatchType,
		`[{"op":"add","path":"/subjects/-","value":{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"alice"}}]`),
	"a megabyte that is no name": patch(types.MergePatchType, `{"metadata":{"generateName":"`+strings.Repeat("a", 1<<20)+`"}}`),
	"the expiry put off": patch(types.MergePatchType,
		`{"metadata":{"annotations":{"lapse.dev/expires-at":"2099-01-01T00:00:00Z"}}}`),
	"the expiry put off by server-side apply": patch(types.ApplyPatchType,
		fmt.Sprintf(applied, `,"annotations":{"lapse.dev/expires-at":"2099-01-01T00:00:00Z"}`, "")),
	"the expiry removed": patch(types.JSONPatchType,
		`[{"op":"remove","path":"/metadata/annotations/lapse.dev~1expires-at"}]`),
	"an unreadable expiry":    patch(types.MergePatchType, `{"metadata":{"annotations":{"lapse.dev/expires-at":"never"}}}`),
	"all annotations removed": patch(types.MergePatchType, `{"metadata":{"annotations":null}}`),
	"all labels removed":      patch(types.MergePatchType, `{"metadata":{"labels":null}}`),
	"another request's uid": patch(types.MergePatchType,
		`{"metadata":{"labels":{"lapse.dev/request-uid":"00000000-0000-0000-0000-000000000000"}}}`),
	"the owner removed": patch(types.JSONPatchType, `[{"op":"remove","path":"/metadata/ownerReferences"}]`),
	"a second owner": patch(types.JSONPatchType, `[{"op":"add","path":"/metadata/ownerReferences/-",`+
		`"value":{"apiVersion":"v1","kind":"ConfigMap","name":"keep","uid":"00000000-0000-0000-0000-000000000000"}}]`),
	"blockOwnerDeletion": patch(types.JSONPatchType,
		`[{"op":"add","path":"/metadata/ownerReferences/0/blockOwnerDeletion","value":true}]`),
	"a finalizer by merge patch":       patch(types.MergePatchType, `{"metadata":{"finalizers":["example.com/pin"]}}`),
	"a finalizer by server-side apply": patch(types.ApplyPatchType, fmt.Sprintf(applied, `,"finalizers":["example.com/pin"]`, "")),
	"a finalizer and the expiry put off": put(func(b *rbacv1.RoleBinding) {
		b.Finalizers, b.Annotations = []string{"example.com/pin"}, nil
	}),
	"everything stripped": put(func(b *rbacv1.RoleBinding) {
		b.Labels, b.Annotations, b.OwnerReferences = nil, nil, nil
	}),
	"everything stripped, pinned and given on": put(func(b *rbacv1.RoleBinding) {
		b.ObjectMeta = pinned(b)
		b.Subjects = append(b.Subjects, eve)
	}),
}

func pinned(b *rbacv1.RoleBinding) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: b.Namespace, Name: b.Name, ResourceVersion: b.ResourceVersion, Finalizers: []string{"example.com/pin"}}
}

var _ = Describe("A managed binding", Ordered, func() {
	BeforeAll(func(ctx SpecContext) {
		startManager(ctx)
		newPolicy(ctx, builders.Policy("victims").Allowing("admin").Selecting("victim", "true"))
	})

	It("takes no change from its holder", func(ctx SpecContext) {
		v := newVictim(ctx, "held", time.Hour)
		refused := fmt.Sprintf("rolebindings.rbac.authorization.k8s.io %q is forbidden: "+
			"ValidatingAdmissionPolicy 'lapse-managed-binding' with binding "+
			"'lapse-managed-binding' denied request: RoleBinding %q belongs to Lapse and may only lose subjects and finalizers; to end the access, "+
			"delete it or its AccessRequest %q", v.binding.Name, v.binding.Name, v.req.Name)
		for what, tamper := range tampering {
			Expect(tamper(ctx, v)).To(MatchError(refused), what)
		}
		Expect(v.current(ctx)).To(Equal(v.binding), "not a bit of it changed")
	})

	It("takes no change from an admin, nor a name of its kind from anybody", func(ctx SpecContext) {
		v := newVictim(ctx, "wanted", time.Hour)
		stranger := func(b *rbacv1.RoleBinding) *rbacv1.RoleBinding {
			b.ObjectMeta = metav1.ObjectMeta{
				Namespace: v.ns, Name: b.Name, GenerateName: b.GenerateName, Labels: b.Labels,
				Annotations: b.Annotations, OwnerReferences: b.OwnerReferences,
			}
			return b
		}
		refused := MatchError(ContainSubstring("denied request: names of RoleBindings that begin with lapse- belong to Lapse; " +
			"choose another name, or create an AccessRequest"))
		beforehand, generated := v.binding.DeepCopy(), v.binding.DeepCopy()
		beforehand.Name = "lapse-other-12345678"
		generated.Name, generated.GenerateName = "", "lapse-"
		for _, c := range []client.Client{v.mallory, admin} {
			Expect(c.Create(ctx, stranger(beforehand.DeepCopy()))).To(refused)
			Expect(c.Create(ctx, stranger(generated.DeepCopy()))).To(refused)
			put := stranger(beforehand.DeepCopy())
			put.TypeMeta = metav1.TypeMeta{}
			Expect(c.Update(ctx, put)).To(refused, "a PUT of what is not there creates it")
			changed := v.binding.DeepCopy()
			changed.Annotations[v1alpha1.ExpiresAtAnnotation] = "2099-01-01T00:00:00Z"
			Expect(c.Update(ctx, changed)).To(MatchError(ContainSubstring("belongs to Lapse and may only lose subjects and finalizers")))
		}
		By("deleting it and making it again")
		Expect(v.mallory.Delete(ctx, v.binding)).To(Succeed())
		for _, c := range []client.Client{v.mallory, admin} {
			Expect(c.Create(ctx, stranger(v.binding.DeepCopy()))).To(refused)
		}
		eventually(ctx, v.req, v1alpha1.ReasonRevoked)
		v.expectNoAccess(ctx)
	})

	It("gives no access when somebody empties it, and its request says so", func(ctx SpecContext) {
		v := newVictim(ctx, "emptied", time.Hour)
		Expect(v.byHand(ctx, `{"subjects":null}`)).To(Succeed())
		v.expectNoAccess(ctx)
		eventually(ctx, v.req, v1alpha1.ReasonTampered)
	})

	for name, policy := range map[string]metav1.DeletionPropagation{
		"orphaned": metav1.DeletePropagationOrphan, "foreground": metav1.DeletePropagationForeground,
	} {
		It("gives no access for longer when it is deleted, "+name, func(ctx SpecContext) {
			v := newVictim(ctx, name, time.Hour)
			Expect(alice.Delete(ctx, v.binding.DeepCopy(), client.PropagationPolicy(policy))).To(Succeed())
			v.expectNoAccess(ctx)
			eventually(ctx, v.req, v1alpha1.ReasonRevoked)
		})
	}

	It("gives no access beyond 2 s after its deadline, in whatever way it is tampered with while nothing guards it", func(ctx SpecContext) {
		// Nothing is granted while a guard is missing.
		victims := map[string]*victim{}
		var mu sync.Mutex
		eachWay(func(what string) {
			v := newVictim(ctx, "unguarded", 15*time.Second)
			mu.Lock()
			defer mu.Unlock()
			victims[what] = v
		})
		operator.WithoutGuard(ctx, GinkgoTB(), plane, operator.ManagedBindingGuard)
		eachWay(func(what string) {
			v := victims[what]
			Expect(tampering[what](ctx, v)).To(Succeed(), what)
			v.expectNoAccess(ctx)
			late := time.Since(v.req.Status.Grant.ExpiresAt.Time)
			AddReportEntry("no access", fmt.Sprintf("%s: %s after the deadline", what, late.Round(time.Millisecond)))
			Expect(late).To(BeNumerically("<", 2*time.Second), what)
		})
	}, SpecTimeout(time.Minute))
})

var _ = Describe("A managed binding that no operator ends", func() {
	It("can be emptied, unpinned, applied unchanged and deleted by hand", func(ctx SpecContext) {
		m := startManager(ctx)
		newPolicy(ctx, builders.Policy("by-hand").Allowing("admin").Selecting("victim", "true"))
		v := newVictim(ctx, "by-hand", time.Hour)
		Expect(m.Stop()).To(Succeed())
		Expect(v.mallory.Update(ctx, v.binding.DeepCopy())).To(Succeed(), "nothing changes")

		By("pinning it while nothing guards it")
		restore, err := operator.RemoveGuard(ctx, plane, operator.ManagedBindingGuard)
		Expect(err).NotTo(HaveOccurred())
		Expect(v.byHand(ctx, `{"metadata":{"finalizers":["example.com/pin"]}}`)).To(Succeed())
		Expect(restore(ctx)).To(Succeed())

		Expect(v.byHand(ctx, `{"metadata":{"finalizers":["example.com/pin","example.com/more"]}}`)).
			To(MatchError(ContainSubstring("may only lose subjects and finalizers")))
		Expect(v.byHand(ctx, `{"metadata":{"finalizers":null}}`)).To(Succeed())
		Expect(v.current(ctx).Subjects).To(Equal(v.binding.Subjects), "alice holds it still")
		Expect(v.byHand(ctx, `{"subjects":null}`)).To(Succeed())
		v.expectNoAccess(ctx)
		Expect(v.mallory.Delete(ctx, v.binding.DeepCopy())).To(Succeed())
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(v.binding), &rbacv1.RoleBinding{})).To(MatchError(apierrors.IsNotFound, "not found"))
	}, SpecTimeout(time.Minute))
})

// eachWay does something for all ways of tampering at once.
func eachWay(do func(what string)) {
	var wg sync.WaitGroup
	for what := range tampering {
		wg.Go(func() {
			defer GinkgoRecover()
			do(what)
		})
	}
	wg.Wait()
}

// newVictim has alice be granted admin, in a namespace of its own.
func newVictim(ctx context.Context, name string, lasting time.Duration) *victim {
	GinkgoHelper()
	ns := operator.NewNamespace(ctx, GinkgoTB(), admin, "victim", "true")
	create(ctx, builders.Binding(ns, "standing", "admin", builders.User("mallory")))
	v := &victim{ns: ns, mallory: operator.NewUser(GinkgoTB(), plane, "mallory")}
	v.req = builders.Request(name).In(ns).ForClusterRole("admin").Lasting(lasting).Build()
	Expect(alice.Create(ctx, v.req)).To(Succeed())
	eventually(ctx, v.req, v1alpha1.ReasonGranted)
	v.binding = &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: v.req.Status.Grant.Binding}}
	v.binding = v.current(ctx)
	DeferCleanup(v.unpin)
	Eventually(func() error {
		return alice.List(ctx, &corev1.ConfigMapList{}, client.InNamespace(ns))
	}).WithContext(ctx).Should(Succeed())
	return v
}

// byHand patches the binding as mallory.
func (v *victim) byHand(ctx context.Context, body string) error {
	return v.mallory.Patch(ctx, v.binding.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(body)))
}

// unpin lets the binding go, if something was made to keep it.
func (v *victim) unpin(ctx SpecContext) {
	// A patch: the garbage collector may take the binding at any moment, and an update
	// of what is gone since it was read is a conflict.
	none := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
	Expect(client.IgnoreNotFound(admin.Patch(ctx, v.binding.DeepCopy(), none))).To(Succeed())
}

func (v *victim) current(ctx context.Context) *rbacv1.RoleBinding {
	GinkgoHelper()
	b := &rbacv1.RoleBinding{}
	Expect(admin.Get(ctx, client.ObjectKeyFromObject(v.binding), b)).To(Succeed())
	return b
}

// expectNoAccess waits until the API server says no to alice and to eve.
func (v *victim) expectNoAccess(ctx context.Context) {
	GinkgoHelper()
	for _, name := range []string{"alice", "eve"} {
		Eventually(operator.Allowed).WithContext(ctx).WithArguments(admin, name, "list", "configmaps", v.ns).Should(BeFalse())
	}
	Expect(alice.List(ctx, &corev1.ConfigMapList{}, client.InNamespace(v.ns))).
		To(MatchError(ContainSubstring(`User "alice" cannot list resource "configmaps"`)))
}
