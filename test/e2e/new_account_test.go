// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

// naming are bindings that give power to the ServiceAccount named "bound", by the kind that is
// told. Those of the whole cluster are deleted when the test is over.
var naming = map[string]func(ns string) (client.Object, string){
	"a RoleBinding": func(ns string) (client.Object, string) {
		return builders.Binding(ns, "old", "admin", builders.ServiceAccount(ns, "bound")), `RoleBinding "old" gives that name ClusterRole "admin"`
	},
	"a RoleBinding that leaves the namespace out": func(ns string) (client.Object, string) {
		b := builders.Binding(ns, "old", "admin", builders.ServiceAccount(ns, "bound"))
		b.Subjects[0].Namespace = ""
		return b, `RoleBinding "old" gives that name ClusterRole "admin"`
	},
	"a RoleBinding, as a User": func(ns string) (client.Object, string) {
		return builders.Binding(ns, "old", "admin", builders.User("system:serviceaccount:"+ns+":bound")),
			`RoleBinding "old" gives that name ClusterRole "admin"`
	},
	"a ClusterRoleBinding": func(ns string) (client.Object, string) {
		return everywhere(ns, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: "bound"}),
			fmt.Sprintf("ClusterRoleBinding %q gives that name everywhere ClusterRole \"view\"", "old-"+ns)
	},
	"a ClusterRoleBinding, as a User": func(ns string) (client.Object, string) {
		return everywhere(ns, rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "system:serviceaccount:" + ns + ":bound"}),
			fmt.Sprintf("ClusterRoleBinding %q gives that name everywhere ClusterRole \"view\"", "old-"+ns)
	},
}

// everywhere gives somebody view in the whole cluster.
func everywhere(ns string, s rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "old-" + ns},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		Subjects:   []rbacv1.Subject{s},
	}
}

var _ = Describe("A holder whose policy says whileHeld: NoNewPower", Ordered, func() {
	var stamps bool

	BeforeAll(func(ctx SpecContext) {
		var err error
		stamps, err = operator.Stamps(plane.AdminConfig())
		Expect(err).NotTo(HaveOccurred())
		startManager(ctx)
	})

	It("may make ServiceAccounts, and nothing else that would outlast it", func(ctx SpecContext) {
		t := newTenant(ctx)
		t.standing(ctx, builders.User("alice"))
		req := t.leniently(ctx)
		t.makes(ctx, asAlice, "fresh")
		for _, way := range lasting {
			if way[0] == makeAccounts {
				continue
			}
			_, stderr, err := t.kubectl(ctx, asAlice, way[1])
			Expect(err).To(HaveOccurred(), way[1])
			Expect(stderr).To(ContainSubstring(t.refusal(req, way[0])), way[1])
		}
	}, SpecTimeout(2*time.Minute))

	It("has them labelled where the API server stamps, and is told of the label elsewhere", func(ctx SpecContext) {
		t := newTenant(ctx)
		t.leniently(ctx)
		t.makes(ctx, asAlice, "first") // RBAC has heard of the grant then
		_, stderr, err := t.kubectl(ctx, asAlice, "create serviceaccount plain")
		if !stamps {
			Expect(err).To(HaveOccurred())
			Expect(stderr).To(ContainSubstring(`you may not create ServiceAccounts there but with the label lapse.dev/no-new-power: "true"; add it`))
			return
		}
		Expect(err).NotTo(HaveOccurred(), stderr)
		account := &corev1.ServiceAccount{}
		Expect(admin.Get(ctx, client.ObjectKey{Namespace: t.ns, Name: "plain"}, account)).To(Succeed())
		Expect(account.Labels).To(HaveKeyWithValue(v1alpha1.NoNewPowerLabel, "true"))
	}, SpecTimeout(time.Minute))

	for name, of := range naming {
		It("may not make one that is named by "+name, func(ctx SpecContext) {
			t := newTenant(ctx)
			old, says := of(t.ns)
			create(ctx, old)
			DeferCleanup(func(ctx SpecContext) { Expect(client.IgnoreNotFound(admin.Delete(ctx, old))).To(Succeed()) })
			t.leniently(ctx)
			Eventually(func() string { return t.refused(ctx, asAlice, "bound") }).WithContext(ctx).Should(ContainSubstring(says))
			for _, verb := range []string{"create", "apply", "apply --server-side"} {
				stderr, err := t.account(ctx, asAlice, verb, "bound")
				Expect(err).To(HaveOccurred(), verb)
				Expect(stderr).To(ContainSubstring(says), verb)
			}
			stderr, err := t.labelled(ctx, asAlice, "create", "bound", "false") // refused, or stamped and refused
			Expect(err).To(HaveOccurred())
			Expect(stderr).To(ContainSubstring("denied request"))
			t.makes(ctx, asAlice, "unbound")
		}, SpecTimeout(time.Minute))
	}

	It("may make them through a group, too, and none that is named", func(ctx SpecContext) {
		t := newTenant(ctx)
		create(ctx, builders.Binding(t.ns, "old", "admin", builders.ServiceAccount(t.ns, "bound")))
		t.lenientlyTo(ctx, builders.Group("crew"))
		gina, err := plane.User("gina", "others", "crew")
		Expect(err).NotTo(HaveOccurred())
		t.makes(ctx, gina, "fresh")
		Expect(t.refused(ctx, gina, "bound")).To(ContainSubstring(`RoleBinding "old" gives that name ClusterRole "admin"`))
	}, SpecTimeout(time.Minute))

	It("has nobody else held, but who takes the label for a name that is bound", func(ctx SpecContext) {
		t := newTenant(ctx)
		create(ctx, builders.Binding(t.ns, "old", "admin", builders.ServiceAccount(t.ns, "bound")))
		t.leniently(ctx)
		Expect(t.refused(ctx, plane.AdminConfig(), "bound")).To(ContainSubstring("choose another name, or leave the label out"))
		_, stderr, err := t.kubectl(ctx, plane.AdminConfig(), "create serviceaccount bound")
		Expect(err).NotTo(HaveOccurred(), stderr)
		account := &corev1.ServiceAccount{}
		Expect(admin.Get(ctx, client.ObjectKey{Namespace: t.ns, Name: "bound"}, account)).To(Succeed())
		Expect(account.Labels).NotTo(HaveKey(v1alpha1.NoNewPowerLabel))
	}, SpecTimeout(time.Minute))

	It("may make none if he holds another grant there that is strict", func(ctx SpecContext) {
		t := newTenant(ctx)
		t.leniently(ctx)
		strict := builders.Request("strict").In(t.ns).ForClusterRole("admin").Lasting(time.Hour).To(builders.User("alice")).Build()
		Expect(alice.Create(ctx, strict)).To(Succeed())
		eventually(ctx, strict, v1alpha1.ReasonGranted)
		Eventually(func() string { return t.refused(ctx, asAlice, "fresh") }).WithContext(ctx).
			Should(ContainSubstring(t.refusal(strict, makeAccounts)))
	}, SpecTimeout(time.Minute))

	It("comes by no leniency that its policy did not give", func(ctx SpecContext) {
		t := newTenant(ctx)
		newPolicy(ctx, builders.Policy("a-"+t.ns).Allowing("edit").In(t.ns).To(builders.User("alice")))
		strict := t.grant(ctx, builders.User("alice"))
		const lenient = v1alpha1.WhileHeldLabel + "=" + string(v1alpha1.WhileHeldNoNewPower)
		root := plane.AdminConfig()
		By("labelling the RoleBinding", func() {
			_, stderr, err := t.kubectl(ctx, root, "label rolebinding "+strict.Status.Grant.Binding+" "+lenient)
			Expect(err).To(HaveOccurred())
			Expect(stderr).To(ContainSubstring("belongs to Lapse and may only lose subjects"))
		})
		By("making one that looks like Lapse's", func() {
			forged := builders.Binding(t.ns, "forged", "view", builders.User("alice"))
			forged.Labels = map[string]string{
				v1alpha1.ManagedByLabel: v1alpha1.ManagedBy, v1alpha1.WhileHeldLabel: string(v1alpha1.WhileHeldNoNewPower),
			}
			create(ctx, forged)
			owned := forged.DeepCopy()
			owned.ObjectMeta = metav1.ObjectMeta{Namespace: t.ns, Name: "lapse-forged", Labels: forged.Labels}
			Expect(admin.Create(ctx, owned)).To(MatchError(ContainSubstring("belong to Lapse; choose another name")))
		})
		for _, label := range []string{"true", "false"} {
			Eventually(func() string {
				stderr, _ := t.labelled(ctx, asAlice, "create", "fresh", label)
				return stderr
			}).WithContext(ctx).Should(ContainSubstring(t.refusal(strict, makeAccounts)))
		}
	}, SpecTimeout(time.Minute))
})

// leniently has alice hold edit by a policy with NoNewPower.
func (t *tenant) leniently(ctx context.Context) *v1alpha1.AccessRequest {
	GinkgoHelper()
	return t.lenientlyTo(ctx, builders.User("alice"))
}

// lenientlyTo has a subject hold it.
func (t *tenant) lenientlyTo(ctx context.Context, s v1alpha1.Subject) *v1alpha1.AccessRequest {
	GinkgoHelper()
	newPolicy(ctx, builders.Policy("a-"+t.ns).Allowing("edit").In(t.ns).To(s).WhileHeld(v1alpha1.WhileHeldNoNewPower))
	req := t.grant(ctx, s)
	Expect(req.Status.Policy.Name).To(Equal("a-" + t.ns))
	return req
}

// account applies a ServiceAccount that says that it has no power.
func (t *tenant) account(ctx context.Context, as *rest.Config, verb, name string) (stderr string, err error) {
	return t.labelled(ctx, as, verb, name, "true")
}

// labelled applies one whose label says something.
func (t *tenant) labelled(ctx context.Context, as *rest.Config, verb, name, value string) (stderr string, err error) {
	manifest := fmt.Sprintf(`{apiVersion: v1, kind: ServiceAccount, metadata: {name: %s, labels: {lapse.dev/no-new-power: %q}}}`, name, value)
	Expect(os.WriteFile(filepath.Join(t.files, "account"), []byte(manifest), 0o600)).To(Succeed())
	_, stderr, err = t.kubectl(ctx, as, verb+" -f @account")
	return stderr, err
}

// makes waits until somebody has made one: RBAC may not have heard yet of his grant.
func (t *tenant) makes(ctx context.Context, as *rest.Config, name string) {
	GinkgoHelper()
	Eventually(func() error {
		stderr, err := t.account(ctx, as, "create", name)
		if err != nil {
			return fmt.Errorf("%w: %s", err, stderr)
		}
		return nil
	}).WithContext(ctx).Should(Succeed())
}

// refused is what somebody is told who may not make one; empty if he may.
func (t *tenant) refused(ctx context.Context, as *rest.Config, name string) string {
	GinkgoHelper()
	stderr, _ := t.account(ctx, as, "create --dry-run=server", name) // a failure says why
	return stderr
}
