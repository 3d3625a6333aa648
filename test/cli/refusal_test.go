// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"net"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/client-go/rest"
)

var _ = Describe("What goes wrong", func() {
	It("is said in one sentence that names what is missing", func(ctx SpecContext) {
		for _, step := range []struct {
			args []string
			says string
		}{
			{[]string{"get"}, "you (nobody) may not list accessrequests.lapse.dev in namespace payments; " +
				"ask a cluster admin for a RoleBinding to ClusterRole lapse-requester, lapse-approver or lapse-auditor"},
			{[]string{"get", "--for-me"}, "you (nobody) may not list accessrequests.lapse.dev in namespace payments; ask a cluster admin"},
			{[]string{"get", "-A"}, "you (nobody) may not list accessrequests.lapse.dev in the whole cluster; " +
				"ask a cluster admin for a ClusterRoleBinding to ClusterRole lapse-requester, lapse-approver or lapse-auditor; " +
				"or look in one namespace, with -n NAMESPACE in place of -A"},
			{[]string{"request", "edit", "--for", "1h", "--reason", "INC-1"}, "you (nobody) may not create accessrequests.lapse.dev in namespace " +
				"payments; ask a cluster admin for a RoleBinding to ClusterRole lapse-requester"},
			{[]string{"can", "edit"}, "you (nobody) may not list accesspolicies.lapse.dev in the whole cluster"},
			{
				[]string{"reap"},
				"you (nobody) may not list rolebindings.rbac.authorization.k8s.io in the whole cluster; ask a cluster admin for that permission",
			},
		} {
			r := nobody.lapse(ctx, step.args...)
			Expect(r.code).To(Equal(codeFailed))
			Expect(r.stdout).To(BeEmpty())
			Expect(r.stderr).To(HavePrefix("error: " + step.says))
		}
	}, SpecTimeout(30*time.Second))

	DescribeTable("a command line that cannot be meant is refused before anything is sent",
		func(ctx SpecContext, says string, args ...string) {
			r := alice.lapse(ctx, args...)
			Expect(r.code).To(Equal(codeFailed))
			Expect(r.stderr).To(HavePrefix("error: "))
			Expect(r.stderr).To(ContainSubstring(says))
		},
		Entry("a role without a verb", `"edit" is not a command; to ask for a role: kubectl lapse request edit --for 1h --reason "why"`, "edit"),
		Entry("a verb of another tool", `"list" is not a command; did you mean kubectl lapse get?`, "list"),
		Entry("a verb that is misspelt", `did you mean kubectl lapse request?`, "requst"),
		Entry("a request without a role", "which role?", "request"),
		Entry("a request without time and reason", "a request needs --for (how long, such as 1h) and --reason", "request", "edit"),
		Entry("a reason without quotes", "a reason of several words needs quotes", "request", "edit", "--for", "1h", "--reason", "INC-1", "is",
			"bad"),
		Entry("a time that is none", "--not-after \"tomorrow\" is neither a time", "request", "edit", "--for", "1h", "--reason", "x",
			"--not-after", "tomorrow"),
		Entry("a subject that is none", `"carol" is not a subject; write user:NAME, group:NAME or sa:NAMESPACE/NAME`, "request", "edit",
			"--for", "1h", "--reason", "x", "--as-subject", "carol"),
		Entry("waiting for what is not stored", "--wait has nothing to wait for", "request", "edit", "--for", "1h", "--reason", "x",
			"--wait", "--dry-run=server"),
		Entry("an output that there is not", "-o xml is not known; use one of custom-columns=, json", "get", "-o", "xml"),
		Entry("a flag that there is not", "unknown flag: --nope; see kubectl lapse get --help", "get", "--nope"),
		Entry("no request", "which request? kubectl lapse get lists them", "approve"),
	)

	It("says what the schema and admission say", func(ctx SpecContext) {
		r := alice.lapse(ctx, "request", "edit", "--for", "48h", "--reason", "INC-1")
		Expect(r.code).To(Equal(codeFailed))
		Expect(r.stderr).To(ContainSubstring("duration must be between 10s and 24h"))
		r = alice.lapse(ctx, "request", "edit", "--for", "1h", "--reason", "INC-1\x1b[2J")
		Expect(r.code).To(Equal(codeFailed))
		Expect(r.stderr).To(ContainSubstring("--reason: character 6 is U+001B, which cannot be seen, or breaks the line; " +
			"reason must be one line of printable characters"))
		Expect(r.stderr).NotTo(ContainSubstring("\x1b"))
	}, SpecTimeout(10*time.Second))

	It("takes no word of a reason for a request", func(ctx SpecContext) {
		r := alice.lapse(ctx, "revoke", "nothing", "--reason", "the", "incident", "is", "over")
		Expect(r.code).To(Equal(codeFailed))
		Expect(r.stderr).To(HavePrefix("error: nothing was done: "))
		Expect(r.stderr).To(HaveSuffix("; a reason of several words needs quotes\n"))
	}, SpecTimeout(10*time.Second))

	It("says so when a request does not exist", func(ctx SpecContext) {
		r := alice.lapse(ctx, "why", "nothing")
		Expect(r.code).To(Equal(codeFailed))
		Expect(r.stderr).To(Equal("error: accessrequests.lapse.dev \"nothing\" not found in namespace payments; " +
			"kubectl lapse get -n payments lists those that there are\n"))
	}, SpecTimeout(10*time.Second))

	It("says so when no server answers", func(ctx SpecContext) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		Expect(err).NotTo(HaveOccurred())
		address := listener.Addr().String()
		Expect(listener.Close()).To(Succeed())
		for _, args := range [][]string{{"get"}, {"request", "edit", "--for", "1h", "--reason", "x"}, {"doctor"}, {"version"}} {
			r := withKubeconfig("lost", &rest.Config{Host: "https://" + address}).lapse(ctx, args...)
			Expect(r.code).To(Equal(codeFailed))
			Expect(r.stderr).To(Equal("error: the API server at https://" + address +
				" cannot be reached (dial: connect: connection refused); see that it runs, " +
				"and that --context or --kubeconfig names the right cluster\n"))
		}
	}, SpecTimeout(30*time.Second))

	It("says so when there is no kubeconfig", func(ctx SpecContext) {
		cmd := alice.command(ctx, "get")
		cmd.Env = []string{"HOME=" + homes}
		r := finish(cmd)
		Expect(r.code).To(Equal(codeFailed))
		Expect(r.stderr).To(ContainSubstring("there is no kubeconfig; set KUBECONFIG"))
	}, SpecTimeout(10*time.Second))

	It("says so when Lapse is not installed", func(ctx SpecContext) {
		stranger := enrol(bare, "root", "system:masters")
		for _, args := range [][]string{
			{"get"}, {"get", "-A"}, {"why", "x"}, {"can", "edit"}, {"request", "edit", "--for", "1h", "--reason", "x"}, {"policy", "lint"},
		} {
			r := stranger.lapse(ctx, args...)
			Expect(r.code).To(Equal(codeFailed))
			Expect(r.stderr).To(Equal("error: this cluster does not know Lapse's kinds (lapse.dev/v1alpha1); " +
				"a cluster admin installs it, as kubectl lapse doctor says, or --context names the wrong cluster\n"))
		}
	}, SpecTimeout(30*time.Second))
})
