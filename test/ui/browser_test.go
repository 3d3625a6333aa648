// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// picturesTo is a folder to which pictures of pages are written; empty writes none.
var picturesTo = os.Getenv("PICTURES")

// browser is one of somebody, with a page open in it.
type browser struct {
	ctx context.Context
	// base is the address of all pages, without their names.
	base string

	mu      sync.Mutex
	watched bool
	// wrong is what no page may do: run what it should not, or ask a stranger.
	wrong []string
}

// chromium starts a browser that nobody has used.
func chromium() *browser {
	GinkgoHelper()
	path, err := exec.LookPath(cmp.Or(os.Getenv("CHROMIUM"), "chromium"))
	Expect(err).NotTo(HaveOccurred(), "install it: apt-get install --no-install-recommends chromium")
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path),
		chromedp.NoSandbox, chromedp.Flag("disable-dev-shm-usage", true), chromedp.WindowSize(1000, 800))
	allocator, end := chromedp.NewExecAllocator(context.Background(), options...)
	DeferCleanup(end)
	ctx, closes := chromedp.NewContext(allocator)
	DeferCleanup(closes)
	b := &browser{ctx: ctx}
	Expect(chromedp.Listen(ctx, b.watch)).To(Succeed())
	Expect(chromedp.Call(ctx, network.Enable, network.EnableParams{})).Error().NotTo(HaveOccurred())
	return b
}

// watch notes what no page may do.
func (b *browser) watch(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.watched {
		return
	}
	switch e := event.(type) {
	case *page.EventJavascriptDialogOpening:
		b.wrong = append(b.wrong, "a dialog: "+e.Message)
	case *runtime.EventExceptionThrown:
		b.wrong = append(b.wrong, "an exception: "+e.ExceptionDetails.Text)
	case *network.EventRequestWillBeSent:
		if at, err := url.Parse(e.Request.URL); err != nil || !strings.HasPrefix(e.Request.URL, b.base) && at.Scheme != "data" {
			b.wrong = append(b.wrong, "a request to "+e.Request.URL)
		}
	}
}

// browses opens what the plugin serves to somebody in a browser of his own.
func (p *person) browses() *browser {
	GinkgoHelper()
	b := chromium()
	b.run(chromedp.Navigate(p.serves()))
	// A page leads on, and no redirect; then to where something waits for him, if anything does.
	at := func() (string, error) { return chromedp.Run(b.ctx, chromedp.Location()) }
	Eventually(at).Should(MatchRegexp("/(mine|for-me)$"))
	opened, err := at()
	Expect(err).NotTo(HaveOccurred())
	b.base = opened[:strings.LastIndex(opened, "/")+1]
	b.isWatched(true)
	DeferCleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		Expect(b.wrong).To(BeEmpty())
	})
	return b
}

// isWatched says whether the page is one of ours.
func (b *browser) isWatched(watched bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watched = watched
}

func (b *browser) run(steps ...chromedp.Action[chromedp.Void]) {
	GinkgoHelper()
	ctx, cancel := context.WithTimeout(b.ctx, 20*time.Second)
	defer cancel()
	Expect(chromedp.Do(ctx, steps...)).To(Succeed())
}

// value of an expression in the page.
func value[T any](b *browser, script string) T {
	GinkgoHelper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	Expect(err).NotTo(HaveOccurred())
	return v
}

// open a page by its name.
func (b *browser) open(name string) {
	GinkgoHelper()
	b.run(chromedp.Navigate(b.base + name))
}

// text is what is to be read.
func (b *browser) text() string {
	text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.body.innerText"))
	if err != nil {
		return err.Error()
	}
	return text
}

// reads waits until all of that is to be read.
func (b *browser) reads(words ...string) {
	GinkgoHelper()
	for _, w := range words {
		Eventually(b.text).Should(ContainSubstring(w))
	}
}

// fills in the field of that label, key by key.
func (b *browser) fills(label, text string) {
	GinkgoHelper()
	Eventually(func() (bool, error) {
		return chromedp.Run(b.ctx, chromedp.Evaluate[bool](fmt.Sprintf(`(() => {
			const label = [...document.querySelectorAll("label")].find(l => l.textContent.startsWith(%q) && l.checkVisibility());
			label?.querySelector("input").select();
			return !!label;
		})()`, label)))
	}).Should(BeTrue(), label)
	b.run(chromedp.KeyEvent(text))
}

// presses the button whose name begins so, as it is shown or said.
func (b *browser) presses(name string) {
	GinkgoHelper()
	b.run(chromedp.Click(fmt.Sprintf("//button[starts-with(@aria-label, %[1]q) or normalize-space() = %[1]q]", name)))
}

// follows the first link whose text begins so.
func (b *browser) follows(text string) {
	GinkgoHelper()
	b.run(chromedp.Click(fmt.Sprintf("//a[starts-with(normalize-space(), %q)]", text)))
}

// looks has the page be light or dark, and so many pixels wide.
func (b *browser) looks(scheme string, width int64) {
	GinkgoHelper()
	b.run(chromedp.EmulateViewport(width, 800))
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
	Expect(chromedp.Call(b.ctx, emulation.SetEmulatedMedia, media)).Error().NotTo(HaveOccurred())
}

// isAccessible holds the page against WCAG with axe, and says what it finds.
func (b *browser) isAccessible(what string) {
	GinkgoHelper()
	found := value[string](b, axe+`; axe.run(document, {resultTypes: ["violations"]}).then(r => JSON.stringify(r.violations.map(v =>
		v.id + ": " + v.help + ": " + v.nodes.map(n => n.html + " " + n.failureSummary).join(" | "))))`)
	var violations []string
	Expect(json.Unmarshal([]byte(found), &violations)).To(Succeed())
	Expect(violations).To(BeEmpty(), what)
}

// fits says whether all is on the screen from left to right.
func (b *browser) fits(what string) {
	GinkgoHelper()
	Expect(value[int](b, "document.documentElement.scrollWidth - document.documentElement.clientWidth")).To(BeZero(), what)
}

// pictured writes a picture of the page where they are wanted.
func (b *browser) pictured(name string) { b.picturedBy(name, chromedp.FullScreenshot(100)) }

// picturedBy is for a page that is too large for one picture.
func (b *browser) picturedBy(name string, shot chromedp.Action[[]byte]) {
	GinkgoHelper()
	if picturesTo == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, shot)
	Expect(err).NotTo(HaveOccurred())
	Expect(os.WriteFile(filepath.Join(picturesTo, name+".png"), png, 0o600)).To(Succeed())
}
