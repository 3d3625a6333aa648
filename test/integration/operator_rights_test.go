// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/lapse-dev/lapse/test/operator"
)

// rightsAsShipped is what the API server says that the operator may do, by namespace,
// before the suite lets it bind anything. kubectl's words.
var rightsAsShipped = map[string]string{}

func takeRights(ctx context.Context) {
	GinkgoHelper()
	config, err := plane.ServiceAccountConfig(ctx, operator.Namespace, operator.ServiceAccount)
	Expect(err).NotTo(HaveOccurred())
	for _, ns := range []string{"default", operator.Namespace} {
		stdout, stderr, err := plane.Kubectl(ctx, config, "auth", "can-i", "--list", "--namespace="+ns)
		Expect(err).NotTo(HaveOccurred(), stderr)
		lines := strings.Split(strings.TrimSpace(stdout), "\n")
		for i := range lines {
			lines[i] = strings.TrimRight(lines[i], " ")
		}
		rightsAsShipped[ns] = strings.Join(lines, "\n")
	}
}

var _ = Describe("What the operator may do", func() {
	for _, ns := range []string{"default", operator.Namespace} {
		It("is what the security model says, in namespace "+ns, func() {
			root, err := operator.Root()
			Expect(err).NotTo(HaveOccurred())
			file := filepath.Join(root, "docs", "security-model.md")
			doc, err := os.ReadFile(file)
			Expect(err).NotTo(HaveOccurred())
			begin := "<!-- kubectl auth can-i --list --namespace=" + ns + " -->\n```text\n"
			before, rest, found := strings.Cut(string(doc), begin)
			Expect(found).To(BeTrue(), "docs/security-model.md has no block that begins with %q", begin)
			printed, after, found := strings.Cut(rest, "\n```\n")
			Expect(found).To(BeTrue())
			if os.Getenv("UPDATE_DOCS") != "" {
				page := before + begin + rightsAsShipped[ns] + "\n```\n" + after
				Expect(os.WriteFile(file, []byte(page), 0o644)).To(Succeed()) //nolint:gosec // documentation
				return
			}
			Expect(rights(printed)).To(ConsistOf(rights(rightsAsShipped[ns])),
				"the shipped RBAC differs from what docs/security-model.md prints; run make docs and review what changed")
		})
	}
})

// rights are the lines that are the same on all versions of Kubernetes. Newer ones let each
// ServiceAccount read ClusterTrustBundles, whatever is shipped. Verbs that come from several
// roles have no order.
func rights(list string) []string {
	lines := slices.DeleteFunc(strings.Split(list, "\n"), func(line string) bool {
		return strings.HasPrefix(line, "clustertrustbundles.certificates.k8s.io ")
	})
	for i, line := range lines {
		if from := strings.LastIndex(line, "["); from >= 0 {
			verbs := strings.Fields(strings.Trim(line[from:], "[]"))
			slices.Sort(verbs)
			lines[i] = line[:from] + strings.Join(verbs, " ")
		}
	}
	return lines
}
