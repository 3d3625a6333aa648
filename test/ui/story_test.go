// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"fmt"
	"strings"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/operator"
)

var _ = Describe("Three people, each in a browser of his own", Ordered, func() {
	var alice, bob, dave *browser
	var asAlice client.Client

	BeforeAll(func() {
		asAlice = operator.NewUser(GinkgoTB(), plane, "alice", "oncall")
		alice = enrol("alice", "oncall").browses()
		bob = enrol("bob", "sre-leads").browses()
		dave = enrol("dave", "security").browses()
	})

	It("ask, and are told while they type what would become of it", func() {
		alice.follows("Ask")
		alice.reads("oncall-edit", "payments-admin", "Needs")
		alice.fills("Role", "admin")
		alice.fills("Why", "CHG-77: rotate the accounts of checkout")
		alice.reads("with approval: alice may have ClusterRole admin in payments for 1h")
		alice.pictured("ask")
		alice.presses("Try, and store nothing")
		alice.reads("The API server would take it")
		alice.presses("Ask")
		alice.reads("It is asked for.", "Pending")
	})

	It("approve, and see each other's words without loading a page", func() {
		bob.follows("To approve")
		dave.open("for-me")
		bob.reads("admin for alice", "How long", "CHG-77: rotate the accounts of checkout", "Risks")
		bob.pictured("for-me")
		bob.fills("Comment", "go ahead")
		bob.presses("Approve")
		bob.reads("security")
		dave.reads("admin for alice", `waits for 1 of Group "security"; approved by "bob"`)
		dave.presses("Approve")
		dave.reads("granted: alice holds ClusterRole admin in payments")
		alice.open("mine")
		alice.reads("Active")
		alice.pictured("mine")
		Expect(value[int](alice, "document.querySelectorAll('meter').length")).To(Equal(1), "the time left is a bar")
	})

	It("give back", func(ctx SpecContext) {
		alice.presses("Give back")
		alice.follows("Go on: Mine")
		alice.reads("You hold nothing")
		Eventually(bindings).WithContext(ctx).Should(BeEmpty())
	}, SpecTimeout(time.Minute))

	It("deny, with a reason that the other one reads", func(ctx SpecContext) {
		asks(ctx, asAlice, "denied", "admin", "CHG-78: have a look")
		bob.open("for-me")
		bob.reads("CHG-78: have a look")
		bob.fills("Comment", "not tonight")
		bob.presses("Deny")
		bob.reads(`denied by "bob": "not tonight"`)
		alice.open("story?namespace=payments&name=denied")
		alice.reads("Denied", "not tonight")
		alice.pictured("story")
	}, SpecTimeout(time.Minute))

	It("revoke what is held", func(ctx SpecContext) {
		asks(ctx, asAlice, "revoked", "admin", "CHG-79: look again")
		for _, b := range []*browser{bob, dave} {
			b.open("for-me")
			b.reads("CHG-79: look again")
			b.presses("Approve")
		}
		alice.open("mine")
		alice.reads("CHG-79: look again", "Active")
		bob.open("now")
		bob.run(chromedp.Click(chromedp.CSS("summary")))
		bob.fills("Why", "the incident is over")
		bob.presses("Revoke")
		bob.reads("revoked: Revoked", "the incident is over")
		alice.reads("You hold nothing")
		Eventually(bindings).WithContext(ctx).Should(BeEmpty())
	}, SpecTimeout(time.Minute))

	It("decide at once, and who comes second is told", func(ctx SpecContext) {
		asks(ctx, asAlice, "raced", "admin", "CHG-80: race")
		for _, b := range []*browser{bob, dave} {
			b.open("for-me")
			b.reads("CHG-80: race")
		}
		// Whoever fills in a form is shown no other list under his fingers.
		dave.fills("Comment", "yes of course")
		bob.presses("Deny")
		bob.reads("raced: Denied")
		dave.reads("Something has changed")
		dave.presses("Approve")
		dave.reads("nothing was done: raced has changed since you were shown it")
		raced := &v1alpha1.AccessRequest{}
		Expect(admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "raced"}, raced)).To(Succeed())
		Expect(raced.Status.State).To(Equal(v1alpha1.StateDenied))
		Expect(raced.Status.Approvals).To(BeEmpty())
	}, SpecTimeout(time.Minute))

	It("approve by the keyboard alone", func(ctx SpecContext) {
		asks(ctx, asAlice, "typed", "admin", "CHG-81: no mouse")
		bob.open("for-me")
		bob.reads("CHG-81: no mouse")
		var on string
		for range 40 {
			bob.run(chromedp.KeyEvent(kb.Tab))
			on = value[string](bob, "document.activeElement.getAttribute('aria-label') || document.activeElement.name || ''")
			if on == "comment" {
				bob.run(chromedp.KeyEvent("no mouse"), chromedp.KeyEvent(kb.Enter)) // which decides nothing
			}
			if strings.HasPrefix(on, "Approve") {
				break
			}
		}
		Expect(on).To(HavePrefix("Approve"))
		bob.run(chromedp.KeyEvent(kb.Enter))
		Eventually(approvals).WithContext(ctx).WithArguments("typed").Should(Equal(1))
		bob.reads("What came of it")
		Expect(value[string](bob, "document.activeElement.innerText")).To(HavePrefix("payments/typed: admin for alice"))
		bob.run(chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Enter))
		bob.reads("Nothing waits for your approval.")
		dave.open("for-me")
		dave.reads("CHG-81: no mouse")
		dave.presses("Deny")
		dave.reads("typed: Denied")
	}, SpecTimeout(time.Minute))

	It("find the right one of three within one look", func(ctx SpecContext) {
		for i, why := range []string{"CHG-90: rotate keys", "INC-91: checkout is down", "CHG-92: tidy up"} {
			asks(ctx, asAlice, fmt.Sprint("one-of-three-", i), "admin", why)
		}
		bob.open("for-me")
		bob.reads("CHG-90: rotate keys", "INC-91: checkout is down", "CHG-92: tidy up")
		for _, screen := range [][2]int64{{390, 844}, {1280, 900}} {
			bob.run(chromedp.EmulateViewport(screen[0], screen[1]))
			Expect(value[float64](bob, highest)).To(BeNumerically("<", screen[1]), "pixels from a name to its button, %d wide", screen[0])
		}
		at := value[[]float64](bob, `(() => { const b = document.querySelectorAll("button[value=Approve]")[1];
			b.scrollIntoView({block: "center"}); const r = b.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2] })()`)
		bob.reads("Approve one-of-three-1 for alice")
		bob.run(chromedp.MouseClickXY(at[0], at[1]))
		bob.reads("What came of it", "payments/one-of-three-1: admin for alice")
		bob.run(chromedp.MouseClickXY(at[0], at[1])) // by accident
		for i, want := range []int{0, 1, 0} {
			name := fmt.Sprint("one-of-three-", i)
			Eventually(approvals).WithContext(ctx).WithArguments(name).Should(Equal(want), name)
			Expect(admin.Delete(ctx, &v1alpha1.AccessRequest{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}})).To(Succeed())
		}
	}, SpecTimeout(time.Minute))

	It("are told all the time while the API server is away for a minute, and see it come back", func(ctx SpecContext) {
		bob.open("now")
		bob.reads("Who has what now")
		Expect(plane.StopAPIServer()).To(Succeed())
		bob.reads("What is shown may be old")
		Consistently(bob.text).WithContext(ctx).WithTimeout(time.Minute).WithPolling(200 * time.Millisecond).
			Should(ContainSubstring("What is shown may be old"))
		Expect(plane.StartAPIServer(ctx)).To(Succeed())
		Eventually(bob.text).WithTimeout(time.Minute).ShouldNot(ContainSubstring("may be old"))
		Eventually(func() error { return asAlice.Create(ctx, request("after", "admin", "CHG-82: after it")) }).
			WithTimeout(time.Minute).Should(Succeed())
		// The operator is back, too: it says under which policy the request waits.
		Eventually(bob.text).WithTimeout(time.Minute).Should(And(ContainSubstring("CHG-82: after it"), ContainSubstring("payments-admin")))
	}, SpecTimeout(5*time.Minute))
})

// highest is how many pixels there are at most from the top of a card to the end of its button.
const highest = `Math.max(...[...document.querySelectorAll(".card")].map(c =>
	c.querySelector("button[value=Approve]").getBoundingClientRect().bottom - c.getBoundingClientRect().top))`

// approvals are how many of a request count.
func approvals(ctx SpecContext, name string) (int, error) {
	req := &v1alpha1.AccessRequest{}
	err := admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, req)
	return len(req.Status.Approvals), err
}

// bindings are those of Lapse in the namespace.
func bindings(ctx SpecContext) ([]string, error) {
	list := &rbacv1.RoleBindingList{}
	err := admin.List(ctx, list, client.InNamespace(namespace), client.MatchingLabels{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy})
	names := make([]string, 0, len(list.Items))
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names, err
}
