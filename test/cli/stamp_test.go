// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/operator"
)

var _ = Describe("Where the API server stamps nothing, as below Kubernetes 1.36,", func() {
	It("the plugin fills in who asks and who decides, and admission proves it", func(ctx SpecContext) {
		if stamps {
			for _, name := range []string{"lapse-requester", "lapse-reviewer"} {
				Expect(root.kubectl(ctx, "delete", "mutatingadmissionpolicybinding", name).code).To(Equal(codeOK))
			}
			DeferCleanup(func(ctx SpecContext) { Expect(operator.Install(ctx, plane)).To(Succeed()) })
		}
		Eventually(func() string {
			return root.kubectl(ctx, "create", "--dry-run=server", "-f", "../../config/samples/lapse_v1alpha1_accessrequest.yaml").stderr
		}).WithContext(ctx).
			Should(And(ContainSubstring("requester is missing: write username, uid and groups as kubectl auth whoami -o yaml prints them"),
				ContainSubstring("subject is missing: write who gets the access, such as {kind: User, name: alice}")))
		alice.must(ctx, "request", "edit", "--name", "unstamped-edit", "--for", "1h", "--reason", "INC-1", "--wait", "--timeout", "5s")
		alice.must(ctx, "return", "unstamped-edit")

		var asked v1alpha1.AccessRequest
		Expect(json.Unmarshal([]byte(alice.lapse(ctx, "request", "admin", "--name", "unstamped", "--for", "1h", "--reason", "CHG-1",
			"-o", "json").stdout), &asked)).To(Succeed())
		Expect(asked.Spec.Requester.Username).To(Equal("alice"))
		Expect(asked.Spec.Requester.Groups).To(ContainElements("oncall", "system:authenticated"))
		Expect(asked.Spec.Subject).To(Equal(&v1alpha1.Subject{Kind: v1alpha1.UserKind, Name: "alice"}))

		var denied v1alpha1.AccessDecision
		Expect(json.Unmarshal([]byte(bob.must(ctx, "deny", "unstamped", "-o", "json")), &denied)).To(Succeed())
		Expect(denied.Spec.Reviewer.Username).To(Equal("bob"))
		Expect(denied.OwnerReferences).To(HaveLen(1))
		Expect(denied.OwnerReferences[0].UID).To(Equal(asked.UID))
	}, SpecTimeout(time.Minute))
})
