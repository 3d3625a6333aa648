// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

var _ = Describe("can", func() {
	It("says what would become of a request, and creates nothing", func(ctx SpecContext) {
		before := root.must(ctx, "get", "-A", "-o", "name")
		yes := alice.lapse(ctx, "can", "edit", "--reason", "INC-1", "--for", "1h")
		Expect(yes.code).To(Equal(codeOK))
		Expect(yes.stdout).To(Equal("yes: alice may have ClusterRole edit in payments for 1h, at once, by policy oncall-edit\n"))
		Expect(yes.stderr).To(ContainSubstring("note: you may not read ClusterRole edit, so it was taken to exist and to be harmless, " +
			"and the operator to be allowed to bind it\n"))
		Expect(yes.stderr).NotTo(ContainSubstring("may not ask"))

		approved := root.lapse(ctx, "can", "admin", "--as-requester", "carol", "--as-requester-group", "oncall")
		Expect(approved.code).To(Equal(codeOK))
		Expect(approved.stdout).To(Equal("with approval: carol may have ClusterRole admin in payments for 1h, by policy payments-admin, " +
			"once 1 of group:sre-leads, and 1 of group:security approved, within 1h\n"))
		Expect(approved.stderr).To(BeEmpty())

		no := root.lapse(ctx, "can", "edit", "--as-requester", "carol", "--as-requester-group", "oncall", "--for", "8h")
		Expect(no.code).To(Equal(codeRefused))
		Expect(no.stdout).To(ContainSubstring("  policy oncall-edit: duration 8h is longer than its maxDuration 4h, " +
			"and the reason must begin with an incident number, such as INC-4211\n"))
		Expect(root.lapse(ctx, "can", "edit", "-n", "kube-system").stdout).
			To(ContainSubstring(`namespace "kube-system" is reserved by the operator`))
		chart := filepath.Join(GinkgoT().TempDir(), "chart.yaml")
		Expect(os.WriteFile(chart, []byte("{apiVersion: v1, kind: ServiceAccount, metadata: {name: app}}"), 0o600)).To(Succeed())
		half := alice.lapse(ctx, "can", "edit", "--reason", "INC-1", "--for", "1h", "-f", chart)
		Expect(half.code).To(Equal(codeRefused))
		Expect(half.stdout).To(HavePrefix(yes.stdout + "refused to the holder while it lasts"))
		Expect(half.stdout).To(ContainSubstring("  ServiceAccount app (" + chart + ")\n"))
		Expect(root.must(ctx, "get", "-A", "-o", "name")).To(Equal(before))
	}, SpecTimeout(30*time.Second))
})

var _ = Describe("policy test", func() {
	It("compares verdicts with what the manifests expect, without a cluster", func(ctx SpecContext) {
		samples, err := filepath.Abs(filepath.Join(bin, "..", "config", "samples"))
		Expect(err).NotTo(HaveOccurred())
		file := filepath.Join(GinkgoT().TempDir(), "request.yaml")
		write := func(expect, requester string) {
			GinkgoHelper()
			Expect(os.WriteFile(file, []byte(`apiVersion: lapse.dev/v1alpha1
kind: AccessRequest
metadata: {name: asked, namespace: payments, annotations: {lapse.dev/expect: `+expect+`}}
spec: {roleRef: {kind: ClusterRole, name: edit}, duration: 1h, reason: "INC-1", requester: `+requester+`}
`), 0o600)).To(Succeed())
		}
		offline := func() result {
			GinkgoHelper()
			cmd := alice.command(ctx, "policy", "test", "-f", samples, "-f", file, "--requester", "alice", "--requester-group", "oncall")
			cmd.Env = []string{"HOME=" + homes} // no kubeconfig
			return finish(cmd)
		}
		write("allowed by oncall-edit", "{username: carol, groups: [oncall]}")
		Expect(offline().code).To(Equal(codeOK))
		write("denied", "{username: mallory}")
		Expect(offline().code).To(Equal(codeOK))
		write("needs-approval", "{username: carol, groups: [oncall]}")
		r := offline()
		Expect(r.code).To(Equal(codeFailed))
		Expect(r.stdout).To(ContainSubstring("payments/asked: expected needs-approval, got allowed: policy oncall-edit allows this for 1h"))
		Expect(r.stderr).To(ContainSubstring("note: what ClusterRole edit allows is not in the files: " +
			"whether it is dangerous, and gives something, was not checked"))
		Expect(r.stderr).To(ContainSubstring("error: 1 of 3 requests are not judged as expected"))
	}, SpecTimeout(30*time.Second))
})

var _ = Describe("policy lint", func() {
	It("and the policy's status, and can, tell of a role that gives nothing", func(ctx SpecContext) {
		Expect(admin.Create(ctx, builders.ClusterRole("nodes", builders.Rule("", "nodes", "get")))).To(Succeed())
		offer := builders.Policy("nodes").From(builders.User("alice")).In(namespace).Allowing("nodes").Build()
		Expect(admin.Create(ctx, offer)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) {
			Expect(admin.Delete(ctx, offer)).To(Succeed())
			Expect(admin.Delete(ctx, builders.ClusterRole("nodes"))).To(Succeed())
		})
		const nothing = `ClusterRole "nodes" gives nothing here: all that it allows (nodes) is in no namespace`
		lint := root.lapse(ctx, "policy", "lint")
		Expect(lint.code).To(Equal(codeFailed))
		Expect(lint.stdout).To(ContainSubstring("mistake  nodes: roles[0] " + nothing))
		can := root.lapse(ctx, "can", "nodes", "--as-requester", "alice")
		Expect(can.code).To(Equal(codeRefused))
		Expect(can.stdout).To(HavePrefix("no: " + nothing))
		Expect(root.lapse(ctx, "can", "--as-requester", "alice").stdout).NotTo(ContainSubstring("nodes"))
		Eventually(func() string {
			return root.kubectl(ctx, "get", "accesspolicy", "nodes", "-o", "wide").stdout
		}).WithContext(ctx).Should(ContainSubstring("in force; but roles[0] " + nothing))
	}, SpecTimeout(30*time.Second))

	It("lists mistakes and risks of the cluster's policies", func(ctx SpecContext) {
		clean := root.lapse(ctx, "policy", "lint")
		Expect(clean.code).To(Equal(codeOK), clean.stderr)
		Expect(clean.stdout).To(ContainSubstring("risk     payments-admin: ClusterRole admin: its holder can read secrets"))

		broken := builders.Policy("broken").In(namespace).If("request.nothing", "").
			ApprovedBy(builders.User("eve")).ApprovedBy(builders.User("eve")).Build()
		Expect(admin.Create(ctx, broken)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { Expect(admin.Delete(ctx, broken)).To(Succeed()) })
		r := root.lapse(ctx, "policy", "lint")
		Expect(r.code).To(Equal(codeFailed))
		Expect(r.stdout).To(MatchRegexp(`(?m)^mistake  broken: conditions\[0\]: 1:8: undefined field 'nothing'`))
		Expect(r.stdout).
			To(ContainSubstring(`mistake  broken: approvals can never be met: 2 must approve by approvals[0] and approvals[1], out of User "eve"`))
	}, SpecTimeout(30*time.Second))
})

var _ = Describe("doctor", func() {
	It("finds all well, and what an admin forgot with the command that mends it", func(ctx SpecContext) {
		Eventually(func() int { return root.lapse(ctx, "doctor").code }).WithContext(ctx).Should(Equal(codeOK))

		Expect(admin.Create(ctx, builders.ClusterRole("reader", builders.Rule("", "configmaps", "get")))).To(Succeed())
		offer := builders.Policy("readers").In(namespace).Allowing("reader").Build()
		Expect(admin.Create(ctx, offer)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { Expect(admin.Delete(ctx, offer)).To(Succeed()) })
		var r result
		Eventually(func() string { r = root.lapse(ctx, "doctor"); return r.stdout }).WithContext(ctx).
			Should(ContainSubstring("policies in force: 3"))
		Expect(r.code).To(Equal(codeFailed))
		Expect(r.stdout).To(ContainSubstring("FAIL  bind        the operator may not bind ClusterRole reader, which a policy offers\n"))
		Expect(r.stdout).To(ContainSubstring("mend it: kubectl create clusterrole lapse-bindable-reader --verb=bind " +
			"--resource=clusterroles.rbac.authorization.k8s.io --resource-name=reader " +
			"&& kubectl label clusterrole lapse-bindable-reader lapse.dev/bindable=true"))

		can := root.lapse(ctx, "can", "reader", "--as-requester", "alice")
		Expect(can.code).To(Equal(codeRefused))
		Expect(can.stdout).To(HavePrefix("no: the operator may not bind ClusterRole reader; a cluster admin allows it with: kubectl create"))

		Expect(root.kubectl(ctx, "create", "clusterrole", "lapse-bindable-reader", "--verb=bind",
			"--resource=clusterroles.rbac.authorization.k8s.io", "--resource-name=reader").code).To(Equal(codeOK))
		Expect(root.kubectl(ctx, "label", "clusterrole", "lapse-bindable-reader", "lapse.dev/bindable=true").code).To(Equal(codeOK))
		Eventually(func() int { return root.lapse(ctx, "doctor").code }).WithContext(ctx).Should(Equal(codeOK))
	}, SpecTimeout(time.Minute))

	It("notices that admission is not enforced any more", func(ctx SpecContext) {
		Expect(root.kubectl(ctx, "delete", "validatingadmissionpolicybinding", "lapse-requester").code).To(Equal(codeOK))
		DeferCleanup(func(ctx SpecContext) {
			Expect(operator.Install(ctx, plane)).To(Succeed())
			admissionSettles(ctx)
		})
		var r result
		Eventually(func() string { r = root.lapse(ctx, "doctor"); return r.stdout }).WithContext(ctx).
			Should(ContainSubstring("FAIL  canary      admission is NOT enforced: a request in somebody else's name would be stored"))
		Expect(r.stdout).To(ContainSubstring("FAIL  admission   ValidatingAdmissionPolicyBinding lapse-requester is missing\n"))
		Expect(r.code).To(Equal(codeFailed))
	}, SpecTimeout(time.Minute))

	It("asks for what keeps grants out of kube-* where the operator reserves that, and finds it in the way elsewhere", func(ctx SpecContext) {
		DeferCleanup(func(ctx SpecContext) {
			Expect(operator.Install(ctx, plane)).To(Succeed())
			admissionSettles(ctx)
		})
		Expect(root.kubectl(ctx, "patch", "deployment", "-n", "lapse-system", "lapse-manager", "--type=json", "-p",
			`[{"op":"add","path":"/spec/template/spec/containers/0/args/-","value":"--reserved-namespaces=vault-*"}]`).code).To(Equal(codeOK))
		r := root.lapse(ctx, "doctor")
		Expect(r.code).To(Equal(codeFailed))
		Expect(r.stdout).To(ContainSubstring("FAIL  admission   --reserved-namespaces does not reserve all of kube-*, and " +
			"ValidatingAdmissionPolicy lapse-reserved-namespaces refuses every grant there; " +
			"config/overlays/open-kube-namespaces keeps it open\n"))
		_, mend, found := strings.Cut(r.stdout, "mend it: kubectl ")
		Expect(found).To(BeTrue(), r.stdout)
		mend, _, _ = strings.Cut(mend, "\n")
		Expect(root.kubectl(ctx, strings.Fields(mend)...).code).To(Equal(codeOK), mend)
		Expect(root.lapse(ctx, "doctor").stdout).
			To(MatchRegexp(`(?m)^ok    admission   \d+ admission policies and bindings are what this version ships$`))

		Expect(root.kubectl(ctx, "patch", "deployment", "-n", "lapse-system", "lapse-manager", "--type=json", "-p",
			`[{"op":"remove","path":"/spec/template/spec/containers/0/args/3"}]`).code).To(Equal(codeOK))
		Expect(root.lapse(ctx, "doctor").stdout).To(ContainSubstring("FAIL  admission   ValidatingAdmissionPolicy lapse-reserved-namespaces " +
			"is missing; ValidatingAdmissionPolicyBinding lapse-reserved-namespaces is missing\n"))
	}, SpecTimeout(time.Minute))

	It("recommends stamps where they are served and absent, and names one that is altered", func(ctx SpecContext) {
		if !stamps {
			Expect(root.must(ctx, "doctor")).
				To(MatchRegexp(`(?m)^ok    stamps      v1\.\S+ has no MutatingAdmissionPolicy in v1: this plugin fills in who asks and who decides`))
			return
		}
		DeferCleanup(func(ctx SpecContext) {
			Expect(operator.Install(ctx, plane)).To(Succeed())
			admissionSettles(ctx)
		})
		Expect(root.must(ctx, "doctor")).To(ContainSubstring("ok    stamps      6 stamps and bindings are what this version ships\n"))
		Expect(root.kubectl(ctx, "patch", "mutatingadmissionpolicy", "lapse-reviewer", "--type=merge",
			"-p", `{"spec":{"reinvocationPolicy":"Never"}}`).code).To(Equal(codeOK))
		r := root.lapse(ctx, "doctor")
		Expect(r.code).To(Equal(codeFailed))
		Expect(r.stdout).To(ContainSubstring("FAIL  stamps      MutatingAdmissionPolicy lapse-reviewer is not what this version ships " +
			"(spec.reinvocationPolicy)\n"))
		Expect(r.stdout).
			To(ContainSubstring("mend it: kubectl apply -k config/admission/stamps; kubectl replace --save-config -k config/admission/stamps\n"))

		image := root.kubectl(ctx, "get", "deployment", "-n", "lapse-system", "lapse-manager",
			"-o", "jsonpath={.spec.template.spec.containers[0].image}").stdout
		Expect(root.kubectl(ctx, "set", "image", "-n", "lapse-system", "deployment/lapse-manager", "manager=example.com/lapse:v9").code).
			To(Equal(codeOK))
		r = root.lapse(ctx, "doctor")
		Expect(r.code).To(Equal(codeUnknown), "another version may ship another one")
		Expect(r.stdout).To(ContainSubstring("(spec.reinvocationPolicy); but the operator may be of another version than this plugin, v0.1.0: " +
			"its image is example.com/lapse:v9\n"))
		Expect(r.stdout).To(ContainSubstring("mend it: check with the plugin of its version; if that finds a difference, apply all"))
		Expect(r.stdout).To(MatchRegexp(`(?m)^\?     admission   \d+ admission policies and bindings are what this plugin's version ships; `+
			`but the operator may be of another version than this plugin, v0\.1\.0: its image is example\.com/lapse:v9$`),
			"beside the policies of another version it grants nothing")

		Expect(root.kubectl(ctx, "delete", "mutatingadmissionpolicy", "lapse-reviewer").code).To(Equal(codeOK))
		r = root.lapse(ctx, "doctor")
		Expect(r.code).To(Equal(codeUnknown), "half of them is somebody's mistake")
		Expect(r.stdout).To(ContainSubstring("MutatingAdmissionPolicy lapse-reviewer is missing; but the operator may be"))

		Expect(root.kubectl(ctx, "delete", "mutatingadmissionpolicies,mutatingadmissionpolicybindings", "--all").code).To(Equal(codeOK))
		Expect(root.kubectl(ctx, "set", "image", "-n", "lapse-system", "deployment/lapse-manager", "manager="+image).code).To(Equal(codeOK))
		Expect(root.must(ctx, "doctor")).To(ContainSubstring("ok    stamps      not installed, so people name themselves in YAML; " +
			"to have the API server do it: kubectl apply -k config/admission/stamps, or helm upgrade\n"))
	}, SpecTimeout(time.Minute))

	It("names requests that the operator has said nothing of", func(ctx SpecContext) {
		Expect(admin.Create(ctx, builders.Namespace("unanswered"))).To(Succeed())
		Expect(manager.Signal(syscall.SIGSTOP)).To(Succeed())
		DeferCleanup(func() error { return manager.Signal(syscall.SIGCONT) })
		req := builders.Request("waits").In("unanswered").Build()
		Expect(admin.Create(ctx, req)).To(Succeed())
		Expect(root.lapse(ctx, "doctor").stdout).To(ContainSubstring("ok    requests    no request waits for its first answer\n"))
		Eventually(func() string { return root.lapse(ctx, "doctor").stdout }).
			WithContext(ctx).WithTimeout(45 * time.Second).WithPolling(time.Second).
			Should(ContainSubstring("FAIL  requests    requests without an answer for more than 30s: unanswered/waits\n"))
	}, SpecTimeout(time.Minute))

	It("says so when nothing is granted since the operator cannot try the policies", func(ctx SpecContext) {
		Expect(root.kubectl(ctx, "delete", "rolebinding", "-n", "lapse-system", "canary").code).To(Equal(codeOK))
		DeferCleanup(func(ctx SpecContext) {
			Expect(operator.Install(ctx, plane)).To(Succeed())
			admissionSettles(ctx)
		})
		Expect(root.kubectl(ctx, "label", "validatingadmissionpolicy", "lapse-status", "look=now").code).To(Equal(codeOK)) // the guard looks then
		Eventually(func(g Gomega) {
			name := "held-back-" + time.Now().Format("150405.000")
			DeferCleanup(func(ctx SpecContext) { root.kubectl(ctx, "delete", "accessrequest", "-n", namespace, name) })
			alice.lapse(ctx, "request", "edit", "--name", name, "--for", "1m", "--reason", "INC-1: held back")
			g.Expect(root.lapse(ctx, "doctor").stdout).To(MatchRegexp(
				`(?m)^FAIL  requests    payments/held-back-\S+: nothing is granted until it is certain that the admission policies are in force`))
		}).WithContext(ctx).Should(Succeed())
	}, SpecTimeout(90*time.Second))

	It("takes nothing for well that the caller may not read", func(ctx SpecContext) {
		r := nobody.lapse(ctx, "doctor")
		Expect(r.code).To(Equal(codeUnknown))
		for _, check := range []string{"admission", "canary", "operator", "policies", "bind", "overdue"} {
			Expect(r.stdout).To(MatchRegexp(`(?m)^\?     ` + check + ` +could not check: you \(nobody\) may not `))
		}
	}, SpecTimeout(30*time.Second))

	It("finds nothing installed on a bare cluster", func(ctx SpecContext) {
		r := enrol(bare, "root", "system:masters").lapse(ctx, "doctor")
		Expect(r.code).To(Equal(codeFailed))
		Expect(r.stdout).
			To(ContainSubstring("FAIL  kinds       not served in lapse.dev/v1alpha1: accesspolicies, accessrequests, accessdecisions\n"))
		Expect(r.stdout).To(ContainSubstring("FAIL  operator    no operator has ever led here"))
	}, SpecTimeout(30*time.Second))
})

var _ = Describe("reap", func() {
	It("ends what is past its time when no operator runs, and nothing else", func(ctx SpecContext) {
		reaper := enrol(bare, "root", "system:masters")
		there := operator.NewClient(GinkgoTB(), bare.AdminConfig())
		binding := func(name, expires string) *rbacv1.RoleBinding {
			GinkgoHelper()
			b := builders.Binding("default", name, "view", builders.User("alice"))
			b.Labels = map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy, v1alpha1.RequestUIDLabel: "u"}
			b.Annotations = map[string]string{v1alpha1.ExpiresAtAnnotation: expires}
			Expect(there.Create(ctx, b)).To(Succeed())
			return b
		}
		over := binding("lapse-over-0a1b2c3d", "2020-01-01T00:00:00Z")
		running := binding("lapse-running-0a1b2c3d", time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		stripped := binding("lapse-stripped-0a1b2c3d", "2020-01-01T00:00:00Z")
		stripped.Labels = nil
		Expect(there.Update(ctx, stripped)).To(Succeed())
		stranger := binding("lapse-stranger", "2020-01-01T00:00:00Z")
		stranger.Labels = nil
		Expect(there.Update(ctx, stranger)).To(Succeed())

		dry := reaper.lapse(ctx, "reap", "--dry-run")
		Expect(dry.code).To(Equal(codeOK), dry.stderr)
		Expect(dry.stdout).
			To(MatchRegexp(`^rolebinding.rbac.authorization.k8s.io/lapse-over-0a1b2c3d deleted \(dry run\) in default \(\S+ past its time\)\n` +
				`rolebinding.rbac.authorization.k8s.io/lapse-stripped-0a1b2c3d deleted \(dry run\)`))
		Expect(there.Get(ctx, client.ObjectKeyFromObject(over), over)).To(Succeed())

		Expect(reaper.lapse(ctx, "doctor").stdout).
			To(ContainSubstring("FAIL  overdue     RoleBinding default/lapse-over-0a1b2c3d should have gone"))
		Expect(reaper.must(ctx, "reap")).
			To(And(ContainSubstring("lapse-over-0a1b2c3d deleted in default"), Not(ContainSubstring("running")), Not(ContainSubstring("stranger"))))
		Expect(there.Get(ctx, client.ObjectKeyFromObject(over), over)).NotTo(Succeed())
		Expect(there.Get(ctx, client.ObjectKeyFromObject(running), running)).To(Succeed())
		Expect(there.Get(ctx, client.ObjectKeyFromObject(stranger), stranger)).To(Succeed())
		Expect(reaper.lapse(ctx, "reap").stderr).To(Equal("no access is past its time\n"))

		pinned := binding("lapse-pinned-0a1b2c3d", "2020-01-01T00:00:00Z")
		pinned.Finalizers = []string{"example.com/pin"}
		Expect(there.Update(ctx, pinned)).To(Succeed())
		r := reaper.lapse(ctx, "reap")
		Expect(r.code).To(Equal(codeFailed))
		Expect(r.stderr).To(ContainSubstring("access goes on, finalizers keep the object: example.com/pin; " +
			"take the subjects off with: kubectl patch rolebinding -n default lapse-pinned-0a1b2c3d"))
	}, SpecTimeout(30*time.Second))
})
