// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/chromedp/chromedp"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/lapse-dev/lapse/test/hostile"
	"github.com/lapse-dev/lapse/test/operator"
)

// markup is what would run, or lead elsewhere, if it were a part of a page.
var markup = []string{
	`<script>fetch("https://evil.example.com")</script>`, `"><img src=x onerror=alert(1)>`, `'><svg/onload=alert(1)>`,
	`javascript:alert(1)`, `</section></main><form action="https://evil.example.com"><input name=a>`,
	`<meta http-equiv=refresh content="0;url=https://evil.example.com">`, `<style>@import "https://evil.example.com"</style>`,
	`<link rel=stylesheet href=https://evil.example.com>`, `<base href=https://evil.example.com>`, `{{7*7}}${7*7}`,
}

// foreign counts what a page has that runs or loads something; its own script is one.
const foreign = `document.querySelectorAll("script, img, svg, iframe, object, embed, base, style, [onerror], [onload]").length`

func hostileReasons() []string { return slices.Concat(markup, hostile.Strings(GinkgoTB())) }

var _ = Describe("Whoever attacks the page", func() {
	It("has nothing run by what he writes, and asks no stranger by it", func(ctx SpecContext) {
		mallory := operator.NewUser(GinkgoTB(), plane, "mallory", "oncall")
		taken := 0
		for i, s := range hostileReasons() {
			if taken == 60 {
				break
			}
			switch err := mallory.Create(ctx, request(fmt.Sprint("hostile-", i), "admin", s)); {
			case err == nil:
				taken++
			default:
				Expect(apierrors.IsInvalid(err)).To(BeTrue(), "%q: %v", s, err)
			}
		}
		Expect(taken).To(BeNumerically(">=", len(markup)))
		bob := enrol("bob", "sre-leads").browses()
		for _, page := range []string{"for-me", "now", "now?page=2", "story?namespace=payments&name=hostile-0", `now?person="><script>alert(1)</script>`} {
			bob.open(page)
			bob.reads("Lapse on lapse, as bob")
			Expect(value[int](bob, foreign)).To(Equal(1), "%s has its own script, and nothing else", page)
			Expect(value[[]string](bob, `[...document.querySelectorAll("form")].map(f => new URL(f.action).origin).filter(o => o !== location.origin)`)).To(BeEmpty())
		}
	}, SpecTimeout(3*time.Minute))

	It("gets nothing by a page of his in the same browser", func(ctx SpecContext) {
		asks(ctx, operator.NewUser(GinkgoTB(), plane, "eve", "oncall"), "wanted", "admin", "CHG-85: let me in")
		bob := enrol("bob", "sre-leads").browses()
		bob.open("for-me")
		bob.reads("CHG-85: let me in")
		form := value[string](bob, `(() => { const f = document.querySelector("form[action=decide]"); f.setAttribute("action", f.action);
			return f.outerHTML })()`)
		bob.open("mine")
		theirs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = fmt.Fprintf(w, `<title>theirs</title><iframe src="%snow"></iframe>%s`, bob.base, form)
		}))
		DeferCleanup(theirs.Close)
		bob.isWatched(false) // from here on it is another page
		// It is of another site, though it is of the same machine.
		bob.run(chromedp.Navigate(strings.Replace(theirs.URL, "127.0.0.1", "localhost", 1)))
		answer := value[string](bob, fmt.Sprintf(`fetch(%q, {credentials: "include"}).then(r => r.text()).catch(e => "refused: " + e)`, bob.base+"now"))
		Expect(answer).To(HavePrefix("refused:"))
		Expect(value[int](bob, "document.querySelector('iframe').contentDocument ? 1 : 0")).To(BeZero(), "it cannot be read in a frame")
		bob.run(chromedp.Click(chromedp.CSS("form button[value=Approve]")))
		bob.reads("another page asked for this")
		Consistently(approvals).WithContext(ctx).WithArguments("wanted").WithTimeout(2 * time.Second).Should(BeZero())
	}, SpecTimeout(time.Minute))

	It("gets in by no address that was used, by another name of this machine, or without the cookie", func(ctx SpecContext) {
		p := enrol("bob", "sre-leads")
		address := p.serves()
		first := chromium()
		first.run(chromedp.Navigate(address))
		first.reads("What I hold")
		second := chromium()
		second.run(chromedp.Navigate(address))
		second.reads("this address was used before")
		at, err := chromedp.Run(first.ctx, chromedp.Location())
		Expect(err).NotTo(HaveOccurred())
		second.run(chromedp.Navigate(at))
		second.reads("works once, in one browser")
		first.run(chromedp.Navigate(strings.Replace(at, "127.0.0.1", "localhost", 1)))
		Expect(first.text()).NotTo(ContainSubstring("as bob"))
	}, SpecTimeout(time.Minute))

	for page, does := range map[string]func(*browser){
		"for-me": func(*browser) {}, // it looks by itself
		"ask":    func(b *browser) { b.fills("Why", "CHG-86: what is typed") },
	} {
		It("is neither believed nor asked again once he has the port of a page that is over: "+page, func(ctx SpecContext) {
			p := enrol("bob", "sre-leads")
			bob := p.browses()
			bob.open(page)
			bob.reads("as bob")
			p.ends()
			asked := takesOver(bob.base)
			does(bob)
			bob.reads("Nothing is done here any more")
			Expect(bob.text()).NotTo(ContainSubstring("approve this"))
			before := asked()
			does(bob)
			Consistently(asked).WithContext(ctx).WithTimeout(7 * time.Second).Should(Equal(before)) // a page looks every 5 s at least
		}, SpecTimeout(time.Minute))
	}
})

// takesOver serves at an address that was ours a page that is none, as another run of kubectl lapse ui. asked is how
// often it did.
func takesOver(address string) (asked func() int64) {
	GinkgoHelper()
	at, err := url.Parse(address)
	Expect(err).NotTo(HaveOccurred())
	listener, err := net.Listen("tcp", at.Host)
	Expect(err).NotTo(HaveOccurred())
	var n atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n.Add(1)
		w.Header().Set("Lapse-Run", "another")
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprint(w, `<main><section id="live" data-revision="99">approve this</section><div id="answer">approve this</div></main>`)
	}))
	Expect(server.Listener.Close()).To(Succeed())
	server.Listener = listener
	server.Start()
	DeferCleanup(server.Close)
	return n.Load
}
