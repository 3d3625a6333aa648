// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

const (
	inCore = "/api/v1/namespaces/NS/"
	inRBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/NS/"

	pin     = `{"metadata":{"finalizers":["example.com/pin"]}}`
	bound   = `"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"alice"}]`
	another = `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"mine","uid":"00000000-0000"}]}}`
)

// lateWrite is a request whose body is late: what it does, as the refusal calls it.
type lateWrite struct{ what, method, path, body string }

// kube-apiserver authorizes a request by its header, and then waits for its body.
var _ = Describe("A write whose body comes after the end of the grant", func() {
	for name, writes := range map[string][]lateWrite{
		"makes nothing that lasts": {
			{
				"create serviceaccounts/token", http.MethodPost, inCore + "serviceaccounts/app/token",
				`{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"audiences":[],"expirationSeconds":86400}}`,
			},
			{
				"create serviceaccounts", http.MethodPost, inCore + "serviceaccounts",
				`{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"mine"}}`,
			},
			{
				"create secrets", http.MethodPost, inCore + "secrets", `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"forever",` +
					`"annotations":{"kubernetes.io/service-account.name":"app"}},"type":"kubernetes.io/service-account-token"}`,
			},
			{
				"change secrets", http.MethodPatch, inCore + "secrets/app-token",
				`{"metadata":{"annotations":{"kubernetes.io/service-account.name":"other"}}}`,
			},
		},
		"pins no RoleBinding or Role, and gives none another owner": {
			{"change rolebindings", http.MethodPatch, inRBAC + "rolebindings/app", pin},
			{"change rolebindings", http.MethodPatch, inRBAC + "rolebindings/app", another},
			{"change roles", http.MethodPatch, inRBAC + "roles/app", pin},
			{"change roles", http.MethodPatch, inRBAC + "roles/app", another},
		},
		"gives no role that he could give, but for the right to write it": {
			{
				"create rolebindings", http.MethodPost, inRBAC + "rolebindings", `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding",` +
					`"metadata":{"name":"mine"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"view"},` + bound + `}`,
			},
			{"change rolebindings", http.MethodPatch, inRBAC + "rolebindings/app", `{` + bound + `}`},
			{
				"create roles", http.MethodPost, inRBAC + "roles", `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role",` +
					`"metadata":{"name":"mine"},"rules":[{"apiGroups":["lapse.dev"],"resources":["accessrequests"],"verbs":["get"]}]}`,
			},
		},
	} {
		for _, who := range []string{"a User", "a Group, called as if he were of Kubernetes"} {
			It(name+", by "+who, func(ctx SpecContext) {
				startManager(ctx)
				create(ctx, builders.ClusterRole("binder",
					builders.Rule(rbacv1.GroupName, "clusterroles", "bind"), builders.Rule(rbacv1.GroupName, "roles", "bind"),
					builders.Rule("lapse.dev", "accessrequests", "get")))
				DeferCleanup(func(ctx SpecContext) { Expect(admin.Delete(ctx, builders.ClusterRole("binder"))).To(Succeed()) })
				for _, write := range writes {
					t := newTenant(ctx)
					subject := holders[who].subject(t.ns)
					config, err := holders[who].config(ctx, t.ns)
					Expect(err).NotTo(HaveOccurred())
					holder := operator.NewClient(GinkgoTB(), config)
					create(ctx, builders.Binding(t.ns, "binder", "binder", subject))
					req := t.grantRole(ctx, "admin", subject)
					mayRead := func() error { return holder.List(ctx, &corev1.ConfigMapList{}, client.InNamespace(t.ns)) }
					Eventually(mayRead).WithContext(ctx).Should(Succeed())
					begun := t.begin(ctx, config, write)
					Expect(admin.Delete(ctx, req)).To(Succeed())
					Eventually(func() int { return len(bindings(ctx, t.ns)) }).WithContext(ctx).Should(BeZero())
					Eventually(mayRead).WithContext(ctx).Should(MatchError(apierrors.IsForbidden, "forbidden"))
					status, answer := begun()
					Expect(status).To(Equal(http.StatusForbidden), answer)
					Expect(answer).To(ContainSubstring("denied request: you were allowed to "+write.what+" in namespace "+
						fmt.Sprintf(`\"%s\"`, t.ns)+" when this request began, and are no more"), answer)
				}
			}, SpecTimeout(time.Minute))
		}
	}
})

// begin sends the header of a request, and returns what sends the body.
func (t *tenant) begin(ctx context.Context, as *rest.Config, write lateWrite) func() (status int, answer string) {
	GinkgoHelper()
	httpClient, err := rest.HTTPClientFor(as)
	Expect(err).NotTo(HaveOccurred())
	reader, writer := io.Pipe()
	url := strings.TrimSuffix(as.Host, "/") + strings.ReplaceAll(write.path, "NS", t.ns)
	kind := "application/json"
	if write.method == http.MethodPatch {
		kind = "application/merge-patch+json"
	}
	req, err := http.NewRequestWithContext(ctx, write.method, url, reader)
	Expect(err).NotTo(HaveOccurred())
	req.Header.Set("Content-Type", kind)
	answered := make(chan *http.Response, 1)
	go func() {
		defer GinkgoRecover()
		res, err := httpClient.Do(req)
		Expect(err).NotTo(HaveOccurred())
		answered <- res
	}()
	// Some of the body: it is on its way, and the rest is held back.
	_, err = io.WriteString(writer, strings.Repeat(" ", 8))
	Expect(err).NotTo(HaveOccurred())
	return func() (int, string) {
		GinkgoHelper()
		_, err := io.WriteString(writer, write.body)
		Expect(err).NotTo(HaveOccurred())
		Expect(writer.Close()).To(Succeed())
		var res *http.Response
		Eventually(answered).WithContext(ctx).Should(Receive(&res))
		answer, err := io.ReadAll(res.Body)
		Expect(err).NotTo(HaveOccurred())
		Expect(res.Body.Close()).To(Succeed())
		return res.StatusCode, string(answer)
	}
}
