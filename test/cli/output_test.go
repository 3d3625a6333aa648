// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/yaml"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

var _ = Describe("Output", Ordered, func() {
	var name string
	BeforeAll(func(ctx SpecContext) {
		name = alice.asks(ctx, "edit", "--name", "seen", "--for", "1h", "--reason", "INC-7: seen")
	})

	It("of get is a single object or a list, as kubectl has it", func(ctx SpecContext) {
		var one v1alpha1.AccessRequest
		Expect(json.Unmarshal([]byte(alice.must(ctx, "get", name, "-o", "json")), &one)).To(Succeed())
		Expect(one.Kind).To(Equal("AccessRequest"))
		Expect(one.Spec.Reason).To(Equal("INC-7: seen"))
		Expect(one.ManagedFields).To(BeEmpty())

		var list v1alpha1.AccessRequestList
		Expect(yaml.Unmarshal([]byte(alice.must(ctx, "get", "-o", "yaml")), &list)).To(Succeed())
		Expect(list.Kind).To(Equal("AccessRequestList"))
		Expect(list.Items).NotTo(BeEmpty())
		Expect(list.Items[0].APIVersion).To(Equal("lapse.dev/v1alpha1"))
	}, SpecTimeout(10*time.Second))

	DescribeTable("of get in every other format", func(ctx SpecContext, format, want string) {
		Expect(alice.must(ctx, "get", "seen", "-o", format)).To(MatchRegexp(want))
	},
		Entry("names", "name", `^accessrequest.lapse.dev/seen\n$`),
		Entry("jsonpath", `jsonpath={.spec.roleRef.name}`, `^edit$`),
		Entry("jsonpath-as-json", `jsonpath-as-json={.spec.roleRef}`, `"kind": "ClusterRole"`),
		Entry("custom columns", "custom-columns=NAME:.metadata.name,ROLE:.spec.roleRef.name,NONE:.spec.nothing",
			`^NAME +ROLE +NONE\nseen +edit +<none>\n$`),
		Entry("wide", "wide", `^NAME .* BEGIN +END +APPROVED-BY +REQUESTER +POLICY +BINDING +WHY\n`+
			`seen .* 2\S+Z +2\S+Z +the policy +alice +oncall-edit +lapse-seen-[0-9a-f]{8} +INC-7: seen\n$`),
	)

	It("of request and of decisions is what was created", func(ctx SpecContext) {
		var asked v1alpha1.AccessRequest
		out := alice.must(ctx, "request", "edit", "--for", "90s", "--reason", "INC-8", "--dry-run=client", "-o", "yaml")
		Expect(yaml.UnmarshalStrict([]byte(out), &asked)).To(Succeed())
		Expect(asked.GenerateName).To(Equal("edit-"))
		Expect(asked.Namespace).To(Equal(namespace))
		Expect(asked.Spec.Requester).To(BeNil())
		Expect(out).To(ContainSubstring("duration: 1m30s"))

		Expect(json.Unmarshal([]byte(alice.must(ctx, "request", "edit", "--for", "90s", "--reason", "INC-8", "--dry-run=server", "-o", "json")),
			&asked)).To(Succeed())
		Expect(asked.Spec.Requester.Username).To(Equal("alice"), "the API server stamps it")
		Expect(alice.must(ctx, "get", "-o", "name")).NotTo(ContainSubstring(asked.Name), "nothing is stored")

		var said v1alpha1.AccessDecision
		Expect(json.Unmarshal([]byte(alice.must(ctx, "return", "seen", "--comment", "done", "-o", "json")), &said)).To(Succeed())
		Expect(said.Kind).To(Equal("AccessDecision"))
		Expect(said.Spec.Comment).To(Equal("done"))
		Expect(said.Spec.RequestRef.UID).NotTo(BeEmpty())
	}, SpecTimeout(10*time.Second))

	It("of request says what would become of one that is only checked", func(ctx SpecContext) {
		r := alice.lapse(ctx, "request", "admin", "--for", "1h", "--reason", "CHG-1", "--dry-run=server")
		Expect(r.stdout).To(MatchRegexp(`^accessrequest.lapse.dev/admin-\w+ created \(server dry run\)\n$`))
		Expect(r.stderr).To(ContainSubstring("policy payments-admin allows this for 1h once 2 people have approved"))
		r = alice.lapse(ctx, "request", "edit", "--for", "1h", "--reason", "INC-1", "--not-before", "800h", "--dry-run=server")
		Expect(r.code).To(Equal(codeRefused))
		Expect(r.stderr).To(ContainSubstring("is more than 30 days after the request was made"))
	}, SpecTimeout(10*time.Second))

	It("has data on stdout and talk on stderr, and neither colours nor moves the cursor", func(ctx SpecContext) {
		none := nobodyHas(ctx, "get", "--mine", "--active", "-n", "payments")
		Expect(none.stdout).To(BeEmpty())
		Expect(none.stderr).To(Equal("no active requests of yours in namespace payments\n"))
		for _, args := range [][]string{{"get", "-o", "wide"}, {"why", "seen"}, {"can", "edit"}, {"--help"}} {
			r := alice.lapse(ctx, args...)
			Expect(strings.ContainsAny(r.stdout+r.stderr, "\x1b\r\u202e")).To(BeFalse())
		}
	}, SpecTimeout(10*time.Second))

	It("of version names the plugin, the operator and Kubernetes", func(ctx SpecContext) {
		Expect(root.must(ctx, "version")).
			To(MatchRegexp(`^Client: \S+\nCommit: [0-9a-f]{40}(-dirty)?\nOperator: ghcr.io/lapse-dev/lapse:\S+\nKubernetes: v1\.\d+\.\d+\n$`))
		Expect(alice.must(ctx, "version", "--client")).To(MatchRegexp(`^Client: \S+\nCommit: [0-9a-f]{40}(-dirty)?\n$`))
		Expect(alice.must(ctx, "version", "-o", "json")).To(ContainSubstring(`"kubernetesVersion": "v1.`))
		Expect(alice.lapse(ctx, "version").stderr).To(ContainSubstring("you (alice) may not get deployments.apps in namespace lapse-system"))
	}, SpecTimeout(10*time.Second))
})

// nobodyHas runs a command as dave, who never asks for anything but may look.
func nobodyHas(ctx SpecContext, args ...string) result {
	GinkgoHelper()
	return dave.lapse(ctx, args...)
}

var _ = Describe("Completion", func() {
	It("offers verbs, roles, namespaces and requests, also through kubectl", func(ctx SpecContext) {
		name := alice.asks(ctx, "admin", "--name", "completed", "--for", "1h", "--reason", "CHG-1")
		Expect(alice.must(ctx, "__complete", "re")).
			To(And(ContainSubstring("request\t"), ContainSubstring("return\t"), ContainSubstring("revoke\t")))
		Expect(alice.must(ctx, "__complete", "request", "")).To(HavePrefix("edit\nadmin\n"))
		Expect(alice.must(ctx, "__complete", "request", "ad")).To(HavePrefix("admin\n:4\n"))
		Expect(root.must(ctx, "__complete", "get", "-n", "lapse")).To(HavePrefix("lapse-system\n"))
		Expect(alice.must(ctx, "__complete", "get", "--context", "")).To(HavePrefix("lapse\n"))
		Expect(alice.must(ctx, "__complete", "request", "--policy", "on")).To(HavePrefix("oncall-edit\n"))
		Expect(alice.must(ctx, "__complete", "get", "-o", "js")).To(HavePrefix("json\njsonpath-as-json=\n"))
		Expect(bob.must(ctx, "__complete", "approve", "comp")).To(HavePrefix(name + "\tadmin for alice: Pending\n"))
		Expect(bob.kubectl(ctx, "__complete", "lapse", "approve", "-n", namespace, "comp").stdout).
			To(HavePrefix(name + "\tadmin for alice: Pending\n"))
		bob.must(ctx, "deny", name)
		Expect(bob.must(ctx, "__complete", "approve", "comp")).NotTo(ContainSubstring(name), "it is over")
	}, SpecTimeout(30*time.Second))

	It("has a script for every shell", func(ctx SpecContext) {
		for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
			Expect(alice.must(ctx, "completion", shell)).To(ContainSubstring("kubectl-lapse"))
		}
	}, SpecTimeout(10*time.Second))
})
