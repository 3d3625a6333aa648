// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

var _ = Describe("A manifest that is applied again", func() {
	const manifest = `apiVersion: lapse.dev/v1alpha1
kind: AccessRequest
metadata: {name: %s, namespace: %s}
spec:
  roleRef: {kind: ClusterRole, name: reader}
  duration: 10s
  notAfter: %q
  reason: "INC-1: from Git"
`
	It("after its end grants nothing, sixty times in each way of applying, nor when it is created anew", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		newPolicy(ctx, builders.Policy("p-"+ns).Allowing("reader").In(ns))
		startManager(ctx)
		// Server-side apply is a patch, which lapse-requester does not include.
		create(ctx, builders.ClusterRole("gitops", builders.Rule("lapse.dev", "accessrequests", "patch")),
			builders.Binding(ns, "gitops", "gitops", builders.User("alice")))
		file := filepath.Join(GinkgoT().TempDir(), "request.yaml")
		notAfter := time.Now().Add(12 * time.Second).UTC().Truncate(time.Second)
		text := fmt.Sprintf(manifest, "git", ns, notAfter.Format(time.RFC3339))
		if stamps, err := operator.Stamps(plane.AdminConfig()); err != nil || !stamps {
			Expect(err).NotTo(HaveOccurred())
			text += "  requester: {username: alice, groups: [askers, 'system:authenticated']}\n  subject: {kind: User, name: alice}\n"
		}
		Expect(os.WriteFile(file, []byte(text), 0o600)).To(Succeed())
		// One kubectl applies the file as often as it is named.
		apply := func(times int, how ...string) string {
			GinkgoHelper()
			args := append(append([]string{"apply"}, how...), slices.Repeat([]string{"-f", file}, times)...)
			stdout, stderr, err := plane.Kubectl(ctx, asAlice, args...)
			Expect(err).NotTo(HaveOccurred(), stderr)
			return stdout
		}
		apply(1)
		req := builders.Request("git").In(ns).Build()
		eventually(ctx, req, v1alpha1.ReasonExpired)
		uid := req.UID

		Expect(strings.Count(apply(60), "unchanged")).To(Equal(60))
		apply(1, "--server-side", "--force-conflicts")
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(Succeed())
		version := req.ResourceVersion // managedFields name a second way of applying
		Expect(strings.Count(apply(60, "--server-side", "--force-conflicts"), "serverside-applied")).To(Equal(60))
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(Succeed())
		Expect(req.UID).To(Equal(uid))
		Expect(req.ResourceVersion).To(Equal(version), "sixty times applied, not once changed")
		Expect(req).To(haveReason(v1alpha1.ReasonExpired))
		Expect(bindings(ctx, ns)).To(BeEmpty())

		Eventually(time.Now).WithContext(ctx).Should(BeTemporally(">", notAfter))
		Expect(admin.Delete(ctx, req)).To(Succeed())
		apply(1)
		eventually(ctx, req, v1alpha1.ReasonDenied)
		Expect(req.UID).NotTo(Equal(uid))
		Expect(req.Status.Conditions[0].Message).To(ContainSubstring(notAfter.Format(time.RFC3339)))
		Expect(bindings(ctx, ns)).To(BeEmpty())
	}, SpecTimeout(2*time.Minute))
})
