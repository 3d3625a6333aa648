// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

// application is what a namespace runs: the RBAC of it was applied before the grant.
const application = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: app}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: other}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: app}
rules:
- {apiGroups: [""], resources: [configmaps], verbs: [get]}
- {apiGroups: [""], resources: [pods], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: app}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: app}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: one}
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: two}
---
apiVersion: v1
kind: Secret
metadata:
  name: app-token
  annotations: {kubernetes.io/service-account.name: app}
  labels: {kubernetes.io/legacy-token-invalid-since: "2026-11-01"}
type: kubernetes.io/service-account-token
`

// manifests are what people apply besides, by file name.
var manifests = map[string]string{
	"application": application,
	"binding": `{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: backdoor}, ` +
		`roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: app}, ` +
		`subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: eve}]}`,
	"generated": `{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {generateName: backdoor-}, ` +
		`roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: app}, ` +
		`subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: eve}]}`,
	"hidden": `{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: hidden, ` +
		`labels: {lapse.dev/request-uid: mine}}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: app}, ` +
		`subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: eve}]}`,
	"put": `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","metadata":{"name":"put"},` +
		`"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"app"},` +
		`"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"eve"}]}`,
	"empty": `{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: empty}, ` +
		`roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: app}}`,
	"role": `{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: app}, rules: [{apiGroups: [""], ` +
		`resources: [configmaps, secrets], verbs: [get]}]}`,
	"token": `{apiVersion: v1, kind: Secret, metadata: {name: forever, annotations: {kubernetes.io/service-account.name: app}}, ` +
		`type: kubernetes.io/service-account-token}`,
	"token-ssa": `{apiVersion: v1, kind: Secret, metadata: {name: forever-too, annotations: {kubernetes.io/service-account.name: app}}, ` +
		`type: kubernetes.io/service-account-token}`,
}

const (
	bindRoles     = "bind roles"
	makeRoles     = "create Roles or add rules to them"
	pinRoles      = "add finalizers to Roles, or change their owners,"
	pinBindings   = "add finalizers to RoleBindings, or change their owners,"
	makeAccounts  = "create ServiceAccounts"
	requestTokens = "create tokens of ServiceAccounts"
	makeTokens    = "create token Secrets of ServiceAccounts"
	reviveTokens  = "make token Secrets valid again"
)

// lasting are ways to keep access beyond a grant: what is refused, and the kubectl
// command. NS stands for the namespace, and a word that begins with @ for a manifest.
var lasting = [][2]string{
	{bindRoles, "create rolebinding mine --role=app --user=alice"},
	{bindRoles, "create rolebinding colleagues --clusterrole=view --group=colleagues"},
	{bindRoles, "create rolebinding account --clusterrole=view --serviceaccount=NS:app"},
	{bindRoles, "create -f @generated"},
	{bindRoles, "apply --server-side -f @binding"},
	{bindRoles, "replace --raw /apis/rbac.authorization.k8s.io/v1/namespaces/NS/rolebindings/put -f @put"},
	{bindRoles, "create -f @empty"},
	{bindRoles, `patch rolebinding app --type=json -p ` +
		`[{"op":"add","path":"/subjects/-","value":{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"eve"}}]`},
	{bindRoles, `patch rolebinding app --type=merge -p ` +
		`{"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"mallory"}]}`},
	{bindRoles, "set subject rolebinding app --user=trudy"},
	{makeRoles, "create role mine --verb=get --resource=secrets"},
	{makeRoles, "apply --server-side --force-conflicts -f @role"},
	{makeRoles, `patch role app --type=json -p [{"op":"add","path":"/rules/0/verbs/-","value":"list"}]`},
	{pinBindings, `patch rolebinding app --type=merge -p {"metadata":{"finalizers":["example.com/pin"]}}`},
	{pinRoles, `patch role app --type=merge -p {"metadata":{"finalizers":["example.com/pin"]}}`},
	{pinBindings, `patch rolebinding app --type=merge -p ` +
		`{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"mine","uid":"00000000-0000"}]}}`},
	{pinRoles, `patch role app --type=json -p ` +
		`[{"op":"add","path":"/metadata/ownerReferences","value":[{"apiVersion":"v1","kind":"ConfigMap","name":"mine","uid":"00000000-0000"}]}]`},
	{makeAccounts, "create serviceaccount mine"},
	{requestTokens, "create token app --duration=24h"},
	{requestTokens, "create token default"},
	{makeTokens, "create -f @token"},
	{makeTokens, "apply --server-side -f @token-ssa"},
	{reviveTokens, "label secret app-token kubernetes.io/legacy-token-invalid-since-"},
	{makeTokens, "annotate --overwrite secret app-token kubernetes.io/service-account.name=other"}, // after which it is deleted
}

// hiding are ways to have the guard of RoleBindings not asked, by the label that it selects.
var hiding = []string{
	"create -f @hidden",
	"label rolebinding app lapse.dev/request-uid=mine",
	`patch rolebinding app --type=merge -p {"metadata":{"labels":{"lapse.dev/request-uid":"mine"}},"subjects":[]}`,
}

// holders are whom a grant may be given to, each with somebody who holds it thereby.
var holders = map[string]struct {
	subject func(ns string) v1alpha1.Subject
	config  func(ctx context.Context, ns string) (*rest.Config, error)
}{
	"a User": {
		func(string) v1alpha1.Subject { return builders.User("alice") },
		func(context.Context, string) (*rest.Config, error) { return asAlice, nil },
	},
	"a Group": {
		func(string) v1alpha1.Subject { return builders.Group("crew") },
		func(context.Context, string) (*rest.Config, error) { return plane.User("gina", "others", "crew") },
	},
	"a Group, called as if he were of Kubernetes": {
		func(string) v1alpha1.Subject { return builders.Group("crew") },
		func(context.Context, string) (*rest.Config, error) { return plane.User("system:ops", "crew") },
	},
	"a Group, called as if he were a node": {
		func(string) v1alpha1.Subject { return builders.Group("crew") },
		func(context.Context, string) (*rest.Config, error) { return plane.User("system:node:ops", "crew") },
	},
	"a ServiceAccount": {
		func(ns string) v1alpha1.Subject { return builders.ServiceAccount(ns, "default") },
		func(ctx context.Context, ns string) (*rest.Config, error) {
			return plane.ServiceAccountConfig(ctx, ns, "default")
		},
	},
}

var _ = Describe("What would outlast a grant", Ordered, func() {
	BeforeAll(func(ctx SpecContext) { startManager(ctx) })

	for name, holder := range holders {
		It("is refused to "+name+" while the grant lasts, and allowed after it to whoever may", func(ctx SpecContext) {
			t := newTenant(ctx)
			config, err := holder.config(ctx, t.ns)
			Expect(err).NotTo(HaveOccurred())
			t.standing(ctx, holder.subject(t.ns))
			req := t.grant(ctx, holder.subject(t.ns))
			for _, way := range lasting {
				_, stderr, err := t.kubectl(ctx, config, way[1])
				Expect(err).To(HaveOccurred(), way[1])
				Expect(stderr).To(ContainSubstring("ValidatingAdmissionPolicy 'lapse-persistence"), way[1])
				Expect(stderr).To(ContainSubstring(t.refusal(req, way[0])), way[1])
			}
			for _, way := range hiding {
				_, stderr, err := t.kubectl(ctx, config, way)
				Expect(err).To(HaveOccurred(), way)
				Expect(stderr).To(ContainSubstring("ValidatingAdmissionPolicy 'lapse-managed-binding'"), way)
			}
			Expect(admin.Delete(ctx, req)).To(Succeed())
			Eventually(func() int { return len(bindings(ctx, t.ns)) }).WithContext(ctx).Should(BeZero())
			for _, way := range lasting {
				_, stderr, err := t.kubectl(ctx, config, way[1])
				Expect(err).NotTo(HaveOccurred(), "%s: %s", way[1], stderr)
			}
		}, SpecTimeout(2*time.Minute))
	}

	It("is allowed to somebody who holds no grant there", func(ctx SpecContext) {
		t := newTenant(ctx)
		t.grant(ctx, builders.User("alice"))
		bob, err := plane.User("bob", "others")
		Expect(err).NotTo(HaveOccurred())
		t.standing(ctx, builders.User("bob"))
		for _, way := range lasting {
			_, stderr, err := t.kubectl(ctx, bob, way[1])
			Expect(err).NotTo(HaveOccurred(), "%s: %s", way[1], stderr)
		}
	}, SpecTimeout(2*time.Minute))

	It("is not held against the holder of a grant elsewhere, nor by a stranger's RoleBinding", func(ctx SpecContext) {
		t, other := newTenant(ctx), newTenant(ctx)
		t.grant(ctx, builders.User("alice"))
		other.standing(ctx, builders.User("alice"))
		claim := builders.Binding(other.ns, "claims-to-be", "view", builders.User("alice"))
		claim.Labels = map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy}
		create(ctx, claim)
		for _, way := range lasting {
			_, stderr, err := other.kubectl(ctx, asAlice, way[1])
			Expect(err).NotTo(HaveOccurred(), "%s: %s", way[1], stderr)
		}
	}, SpecTimeout(2*time.Minute))
})

// tenant is a namespace with an application.
type tenant struct{ ns, files string }

func newTenant(ctx context.Context) *tenant {
	GinkgoHelper()
	t := &tenant{ns: newNamespace(ctx), files: GinkgoT().TempDir()}
	for name, content := range manifests {
		Expect(os.WriteFile(filepath.Join(t.files, name), []byte(content), 0o600)).To(Succeed())
	}
	Eventually(func() error {
		return admin.Get(ctx, client.ObjectKey{Namespace: t.ns, Name: "default"}, &corev1.ServiceAccount{})
	}).WithContext(ctx).Should(Succeed())
	_, stderr, err := t.kubectl(ctx, plane.AdminConfig(), "apply -f @application")
	Expect(err).NotTo(HaveOccurred(), stderr)
	newPolicy(ctx, builders.Policy("p-"+t.ns).Allowing("edit", "admin").In(t.ns).
		To(builders.Group("crew"), builders.ServiceAccount(t.ns, "default")))
	return t
}

// standing gives a subject admin for good.
func (t *tenant) standing(ctx context.Context, s v1alpha1.Subject) {
	GinkgoHelper()
	create(ctx, builders.Binding(t.ns, "standing", "admin", s))
}

// grant lets a subject hold edit for an hour; alice asks for it.
func (t *tenant) grant(ctx context.Context, s v1alpha1.Subject) *v1alpha1.AccessRequest {
	GinkgoHelper()
	return t.grantRole(ctx, "edit", s)
}

// grantRole is the same with another role.
func (t *tenant) grantRole(ctx context.Context, role string, s v1alpha1.Subject) *v1alpha1.AccessRequest {
	GinkgoHelper()
	end := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	req := builders.Request("lasting").In(t.ns).ForClusterRole(role).Lasting(time.Hour).To(s).NotAfter(end).Build()
	Expect(alice.Create(ctx, req)).To(Succeed())
	eventually(ctx, req, v1alpha1.ReasonGranted)
	return req
}

// refusal is what a holder is told, to the letter.
func (t *tenant) refusal(req *v1alpha1.AccessRequest, what string) string {
	return fmt.Sprintf("denied request: "+
		"while you hold ClusterRole %q in namespace %q (RoleBinding %q, until %s) you may not %s there, which would outlast it; "+
		"ask somebody who holds no grant there, or give the access back first\n",
		req.Spec.RoleRef.Name, t.ns, req.Status.Grant.Binding, req.Status.Grant.ExpiresAt.UTC().Format(time.RFC3339), what)
}

// kubectl runs a command in the namespace, as it is written in a table.
func (t *tenant) kubectl(ctx context.Context, as *rest.Config, line string) (stdout, stderr string, err error) {
	args := strings.Fields(strings.ReplaceAll(line, "NS", t.ns))
	for i, arg := range args {
		if name, ok := strings.CutPrefix(arg, "@"); ok {
			args[i] = filepath.Join(t.files, name)
		}
	}
	return plane.Kubectl(ctx, as, append(args, "--namespace="+t.ns)...)
}
