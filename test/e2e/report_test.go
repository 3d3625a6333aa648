// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/audit"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

var _ = Describe("A report", func() {
	It("names every call that a grant made possible, and nothing else", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		newPolicy(ctx, builders.Policy("p-"+ns).Allowing("reader", "edit").In(ns))
		dir := GinkgoT().TempDir()
		m := startManager(ctx, "--record-to=file:"+filepath.Join(dir, "records.jsonl"))
		get := func(name string) error {
			return alice.Get(ctx, client.ObjectKey{Namespace: ns, Name: name}, &corev1.ConfigMap{})
		}
		Expect(get("before")).NotTo(Succeed())

		By("one grant under which she reads, and may not write")
		reading := builders.Request("reading").In(ns).ForClusterRole("reader").Lasting(10 * time.Second).Build()
		Expect(alice.Create(ctx, reading)).To(Succeed())
		eventually(ctx, reading, v1alpha1.ReasonGranted)
		for i := range 3 {
			Expect(client.IgnoreNotFound(get(fmt.Sprint("read-", i)))).To(Succeed())
		}
		forbidden := &corev1.ConfigMap{}
		forbidden.Namespace, forbidden.Name = ns, "forbidden" // a name that the audit log does not learn
		Expect(alice.Create(ctx, forbidden)).NotTo(Succeed())

		By("a standing right of hers, beside it")
		create(ctx, builders.ClusterRole("lister-"+ns, builders.Rule("", "services", "list")),
			builders.ClusterBinding("lister-"+ns, "lister-"+ns, builders.User("alice")))
		Eventually(func() error { return alice.List(ctx, &corev1.ServiceList{}, client.InNamespace(ns)) }).WithContext(ctx).Should(Succeed())
		eventually(ctx, reading, v1alpha1.ReasonExpired)
		Eventually(func() error { return get("after") }).WithContext(ctx).ShouldNot(Succeed())

		By("another grant, under which she writes, and that is taken away")
		editing := builders.Request("editing").In(ns).ForClusterRole("edit").Lasting(time.Hour).Build()
		Expect(alice.Create(ctx, editing)).To(Succeed())
		eventually(ctx, editing, v1alpha1.ReasonGranted)
		written := &corev1.ConfigMap{}
		written.Namespace, written.Name = ns, "written"
		Expect(alice.Create(ctx, written)).To(Succeed())
		Expect(admin.Create(ctx, builders.Decision("enough", editing, v1alpha1.VerdictRevoke))).To(Succeed())
		eventually(ctx, editing, v1alpha1.ReasonRevoked)
		Eventually(func() (string, error) { // else whoever writes next tells it
			told, err := os.ReadFile(filepath.Join(dir, "records.jsonl"))
			return string(told), err
		}).WithContext(ctx).Should(ContainSubstring(`"id":"` + string(editing.UID) + `/ended"`))
		Expect(m.Stop()).To(Succeed())

		By("files alone")
		env, err := operator.Home(plane, dir, nil)
		Expect(err).NotTo(HaveOccurred())
		typed, err := operator.Type(ctx, dir, env, "kubectl-lapse audit verify records.jsonl >&2\n"+
			"kubectl-lapse report --records records.jsonl -o json -n "+ns+" --audit-log "+plane.AuditLog())
		Expect(err).NotTo(HaveOccurred())
		Expect(typed.Code).To(Equal(0), typed.Stderr)
		var histories []audit.History
		Expect(json.Unmarshal([]byte(typed.Stdout), &histories)).To(Succeed())
		Expect(histories).To(HaveLen(2))
		did := func(calls []*audit.Call) []string {
			out := make([]string, 0, len(calls))
			for _, c := range calls {
				out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s %d", c.Verb, c.Resource, c.Name, c.Code)))
			}
			return out
		}
		Expect(did(histories[0].Calls)).To(Equal([]string{"get configmaps read-0 404", "get configmaps read-1 404", "get configmaps read-2 404"}))
		Expect(did(histories[0].Refused)).To(ContainElement("create configmaps  403"))
		Expect(did(histories[0].Others)).To(ContainElement("list services  200"))
		Expect(did(histories[1].Calls)).To(Equal([]string{"create configmaps written 201"}))
		Expect(histories[1].Grant.EndReason).To(Equal(v1alpha1.ReasonRevoked))
		Expect(histories[1].Decisions).To(HaveLen(1))
		// Grants are of whole seconds, so what was refused in the second before is told as well.
		for _, s := range histories {
			Expect(did(s.Calls)).NotTo(ContainElement(ContainSubstring("before")))
			Expect(did(s.Others)).NotTo(ContainElement(ContainSubstring("before")))
		}
	}, SpecTimeout(2*time.Minute))
})
