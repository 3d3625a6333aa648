// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/lapse-dev/lapse/test/builders"
)

var _ = Describe("The story of access", func() {
	It("is asked for, granted, looked at, used and given back, through kubectl alone", func(ctx SpecContext) {
		Expect(alice.mayCreate(ctx, "configmaps")).To(BeFalse())
		asked := alice.kubectl(ctx, "lapse", "request", "edit", "-n", namespace, "--name", "through-kubectl",
			"--for", "1h", "--reason", "INC-4211: checkout returns 500", "--wait")
		Expect(asked.code).To(Equal(codeOK), asked.stderr)
		Expect(asked.stdout).To(Equal("accessrequest.lapse.dev/through-kubectl created\n"))
		Expect(asked.stderr).To(MatchRegexp(`granted: alice holds ClusterRole edit in payments until 2\S+Z \(in (60|59)m`))
		Expect(alice.mayCreate(ctx, "configmaps")).To(BeTrue())

		held := alice.kubectl(ctx, "lapse", "get", "-n", namespace, "--mine", "--active")
		Expect(held.stdout).To(MatchRegexp(`(?m)^through-kubectl +alice +edit +Active +in (60|59)m\S* +- +`))

		given := alice.kubectl(ctx, "lapse", "return", "-n", namespace)
		Expect(given.code).To(Equal(codeOK), given.stderr)
		Expect(given.stdout).To(MatchRegexp(`^accessdecision.lapse.dev/through-kubectl-\w+ created\n$`))
		Expect(given.stderr).To(ContainSubstring(`through-kubectl: Returned: given back by "alice"`))
		Expect(alice.mayCreate(ctx, "configmaps")).To(BeFalse())

		why := alice.kubectl(ctx, "lapse", "why", "-n", namespace, "through-kubectl").stdout
		for _, line := range []string{
			`^through-kubectl in namespace payments: Returned$`,
			`^asked     2\S+Z \(\d+s ago\) by alice$`,
			`^          ClusterRole edit for alice, for 1h$`,
			`^          reason: INC-4211: checkout returns 500$`,
			`^judged    by policy oncall-edit, which asks for no approval$`,
			`^decided   2\S+Z \(\d+s ago\) Revoke by alice$`,
			`^granted   2\S+Z \(\d+s ago\), until 2\S+Z$`,
			`^          as RoleBinding lapse-through-kubectl-[0-9a-f]{8}, which`,
			`^ended     2\S+Z \(\d+s ago\) Returned by alice$`,
		} {
			Expect(why).To(MatchRegexp(`(?m)` + line))
		}
	}, SpecTimeout(time.Minute))

	It("needs two people, and whoever's word does not count is told beforehand why", func(ctx SpecContext) {
		asked := alice.lapse(ctx, "request", "admin", "--name", "two-people", "--for", "1h", "--reason", "CHG-77: rotate")
		Expect(asked.code).To(Equal(codeUnknown), "what comes after it in a script needs the access")
		Expect(asked.stderr).To(ContainSubstring(`waits for 1 of Group "sre-leads", and 1 of Group "security" (policy payments-admin), until`))
		Expect(asked.stderr).To(ContainSubstring("kubectl lapse approve two-people -n payments"))
		Expect(bob.must(ctx, "get", "two-people")).To(MatchRegexp(`two-people +alice +admin +Pending +in (60|59)m\S* +0/2 +`))

		Expect(bob.must(ctx, "get", "--for-me")).To(MatchRegexp(`(?m)^two-people +alice +admin +Pending +in (60|59)m\S* +0/2 +`))

		self := alice.lapse(ctx, "approve", "two-people")
		Expect(self.code).To(Equal(codeFailed))
		Expect(self.stderr).To(HavePrefix("error: "))

		Expect(bob.lapse(ctx, "approve", "two-people", "--comment", "I watch the dashboards").stderr).
			To(ContainSubstring(`two-people: Pending: waits for 1 of Group "security"; approved by "bob"`))
		twice := bob.lapse(ctx, "approve", "two-people")
		Expect(twice.code).To(Equal(codeFailed))
		Expect(twice.stderr).To(MatchRegexp(`nothing was decided: you \(bob\) approved it already, at 2\S+Z; it waits for 1 of Group "security"`))
		Expect(bob.must(ctx, "get", "two-people")).To(ContainSubstring("1/2"))
		Expect(bob.must(ctx, "get", "--for-me")).NotTo(ContainSubstring("two-people"), "it waits for somebody else")
		Expect(dave.must(ctx, "get", "--for-me")).To(MatchRegexp(`(?m)^two-people +alice +admin +Pending +in (60|59)m\S* +1/2 +`))

		last := dave.lapse(ctx, "approve", "two-people")
		Expect(last.code).To(Equal(codeOK), last.stderr)
		Expect(last.stderr).To(ContainSubstring("granted: alice holds ClusterRole admin in payments until"))
		Expect(alice.mayCreate(ctx, "rolebindings")).To(BeTrue())

		Expect(bob.lapse(ctx, "approve", "two-people").stderr).To(ContainSubstring("two-people is granted already"))
		taken := bob.lapse(ctx, "revoke", "two-people", "--reason", "the change is off")
		Expect(taken.code).To(Equal(codeOK), taken.stderr)
		Expect(taken.stderr).To(ContainSubstring(`two-people: Revoked: revoked by "bob": "the change is off"`))
		Expect(alice.mayCreate(ctx, "rolebindings")).To(BeFalse())
		Expect(bob.lapse(ctx, "deny", "two-people").stderr).To(ContainSubstring("two-people is over (Revoked)"))

		why := bob.must(ctx, "why", "two-people")
		Expect(why).To(MatchRegexp(`(?m)^judged    by policy payments-admin, which asks for 1 of group:sre-leads, and 1 of group:security$`))
		Expect(why).To(MatchRegexp(`(?m)^(decided  |         ) 2\S+Z \(\d+s ago\) Approve by bob: I watch the dashboards$`))
		Expect(why).To(MatchRegexp(`(?m)^          2\S+Z \(\d+s ago\) Revoke by bob: the change is off$`))
		Expect(why).To(MatchRegexp(`(?m)^ended     2\S+Z \(\d+s ago\) Revoked by bob$`))
	}, SpecTimeout(time.Minute))

	It("ends with a deny, for good", func(ctx SpecContext) {
		name := alice.asks(ctx, "admin", "--for", "1h", "--reason", "CHG-78")
		denied := dave.lapse(ctx, "deny", name, "--comment", "not during\nthe \u202efreeze")
		Expect(denied.code).To(Equal(codeOK), denied.stderr)
		Expect(denied.stderr).To(HavePrefix("note: left out of what you wrote, since it cannot be seen or breaks the line: U+000A, U+202E\n"))
		Expect(denied.stderr).To(ContainSubstring(name + `: Denied: denied by "dave": "not during the freeze"`))
		Expect(alice.must(ctx, "why", name)).To(ContainSubstring(`denied by "dave": "not during the freeze"`))
		Expect(alice.lapse(ctx, "return", name).stderr).To(ContainSubstring(name + ` is over already: Denied: denied by "dave"`))
	}, SpecTimeout(time.Minute))

	It("is forgotten on demand of who asked, when no policy allowed it", func(ctx SpecContext) {
		name := alice.asks(ctx, "edit", "--for", "20h", "--reason", "INC-1: too long")
		Eventually(func() string { return alice.must(ctx, "get", name) }).WithContext(ctx).Should(ContainSubstring("Denied"))
		Expect(abby.lapse(ctx, "return", name).stderr).To(ContainSubstring(name + " is not yours (abby)"))
		forgotten := alice.lapse(ctx, "return", name)
		Expect(forgotten.code).To(Equal(codeOK), forgotten.stderr)
		Expect(forgotten.stderr).To(ContainSubstring(name + " is deleted"))
	}, SpecTimeout(time.Minute))

	It("is of nobody else to give back, and of nobody to take who may not delete it", func(ctx SpecContext) {
		name := alice.asks(ctx, "edit", "--for", "1h", "--reason", "INC-1: mine")
		Eventually(func() string { return alice.must(ctx, "get", name) }).WithContext(ctx).Should(ContainSubstring("Active"))
		r := abby.lapse(ctx, "return", name)
		Expect(r.code).To(Equal(codeFailed))
		Expect(r.stderr).To(ContainSubstring(name + " is not yours (abby) to give back: alice asked for it"))
		r = bob.lapse(ctx, "revoke", name, "--reason", "mine now")
		Expect(r.code).To(Equal(codeFailed))
		Expect(r.stderr).To(ContainSubstring("policy oncall-edit asks for no approval, so only those who may delete the request can end it, " +
			"and you (bob) may not"))
		Expect(bob.lapse(ctx, "revoke", name).stderr).To(ContainSubstring("--reason is missing"))
		Expect(root.must(ctx, "revoke", name, "--reason", "by an admin")).To(ContainSubstring("created"))
		Expect(alice.must(ctx, "get", name)).To(MatchRegexp(`Revoked +\d+s ago `))
	}, SpecTimeout(time.Minute))

	It("is all ended at once, by one command of whoever may, when a laptop is stolen", func(ctx SpecContext) {
		mallory := enrol(plane, "mallory", "oncall")
		p := builders.Policy("revocable").From(builders.User("mallory")).Allowing("edit").In(namespace).RevokedBy(builders.User("dave")).Build()
		Expect(admin.Create(ctx, p)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { Expect(admin.Delete(ctx, p)).To(Succeed()) })
		held := mallory.asks(ctx, "edit", "--policy", "revocable", "--for", "1h", "--reason", "INC-1: held")
		waits := mallory.asks(ctx, "admin", "--for", "1h", "--reason", "CHG-1: waits")
		Eventually(func() bool { return mallory.mayCreate(ctx, "configmaps") }).WithContext(ctx).Should(BeTrue())

		r := dave.lapse(ctx, "revoke", "--all-of", "mallory", "--reason", "her laptop was stolen")
		Expect(r.code).To(Equal(codeOK), r.stderr)
		Expect(r.stdout).To(ContainSubstring(held + ` in payments: Revoked: revoked by "dave": "her laptop was stolen"`))
		Expect(r.stdout).To(ContainSubstring(waits + ` in payments: Denied: denied by "dave": "her laptop was stolen"`))
		Expect(r.stderr).To(ContainSubstring(`what "mallory" holds outside Lapse could not all be listed: you (dave) may not list rolebindings`))
		Expect(mallory.mayCreate(ctx, "configmaps")).To(BeFalse())

		By("one that he may not end, and what stands outside Lapse")
		other := mallory.asks(ctx, "edit", "--policy", "oncall-edit", "--for", "1h", "--reason", "INC-1: not dave's")
		Eventually(func() string { return mallory.must(ctx, "get", other) }).WithContext(ctx).Should(ContainSubstring("Active"))
		r = dave.lapse(ctx, "revoke", "--all-of", "mallory", "--reason", "her laptop was stolen")
		Expect(r.code).To(Equal(codeFailed))
		Expect(r.stderr).To(ContainSubstring("error: " + other + " in payments: policy oncall-edit asks for no approval, " +
			"so only those who may delete the request can end it, and you (dave) may not"))
		Expect(r.stderr).To(ContainSubstring("1 of 1 failed"))
		direct := builders.Binding(namespace, "mallory-directly", "view", builders.User("mallory"))
		Expect(admin.Create(ctx, direct)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { Expect(admin.Delete(ctx, direct)).To(Succeed()) })
		r = root.lapse(ctx, "revoke", "--all-of", "mallory", "-A", "--reason", "her laptop was stolen")
		Expect(r.code).To(Equal(codeOK), r.stderr)
		Expect(r.stdout).To(MatchRegexp(`(?m)^accessrequest.lapse.dev/` + other + ` in payments: Revoked: revoked by `))
		Expect(r.stdout).To(HaveSuffix("\nrolebinding.rbac.authorization.k8s.io/mallory-directly in payments: ClusterRole view\n"))
		Expect(r.stderr).To(ContainSubstring(`not looked at: what "mallory" holds through groups`))
	}, SpecTimeout(time.Minute))

	It("asks which access is meant when there are several to give back", func(ctx SpecContext) {
		Expect(abby.lapse(ctx, "return").stderr).To(ContainSubstring("you (abby) hold no access in namespace payments"))
		first := abby.asks(ctx, "edit", "--for", "1h", "--reason", "INC-1: one")
		second := abby.asks(ctx, "edit", "--for", "1h", "--reason", "INC-1: two")
		r := abby.lapse(ctx, "return")
		Expect(r.code).To(Equal(codeFailed))
		Expect(r.stderr).To(And(ContainSubstring("name one of"), ContainSubstring(first), ContainSubstring(second)))
		abby.must(ctx, "return", first)
		Expect(abby.lapse(ctx, "return").stderr).To(ContainSubstring(second + ": Returned"))
	}, SpecTimeout(time.Minute))
})
