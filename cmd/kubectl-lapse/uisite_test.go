// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/html"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/cmd/kubectl-lapse/internal/ui"
	"github.com/lapse-dev/lapse/internal/text"
	"github.com/lapse-dev/lapse/test/builders"
)

// browser is one that entered the site of a plugin whose API server is the handler.
type browser struct {
	t        *testing.T
	client   *http.Client
	origin   string
	at       string // the address of the pages
	terminal *bytes.Buffer
	site     *site
}

func browse(t *testing.T, apiServer http.HandlerFunc) *browser {
	t.Helper()
	p, terminal := against(t, apiServer), &bytes.Buffer{}
	p.ErrOut = terminal
	c, err := p.connect()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	gate := ui.NewGate(server.Listener.Addr().String())
	s := newSite(p, c, gate, "")
	server.Config.Handler = gate.Guard(s.routes())
	server.Start()
	t.Cleanup(server.Close)
	go s.live.follow(t.Context(), p, c, "")
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, client: &http.Client{Jar: jar}, origin: server.URL, terminal: terminal, site: s}
	entered, _ := b.do(http.MethodGet, gate.Address(), nil)
	b.at = b.origin + regexp.MustCompile(`url=(/[^"]+)`).FindStringSubmatch(entered)[1]
	return b
}

// do is what a browser does; it returns the page to which that leads.
func (b *browser) do(method, address string, form url.Values) (page string, code int) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if method == http.MethodPost {
		r.Header.Set("Origin", b.origin)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	res, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	if csp := res.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") {
		b.t.Errorf("%s has the policy %q", address, csp)
	}
	return string(body), res.StatusCode
}

func (b *browser) open(path string) (page string) {
	b.t.Helper()
	page, code := b.do(http.MethodGet, b.at+path, nil)
	if code != http.StatusOK {
		b.t.Errorf("%s is answered with %d: %s", path, code, shownBy(b.t, page))
	}
	return page
}

// form is one of a page: where it leads, and what it sends.
type form struct {
	action string
	fields url.Values
}

// formsOf reads the forms of a page whose action is that.
func formsOf(t *testing.T, page, action string) (forms []form) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	for node := range root.Descendants() {
		if node.Type != html.ElementNode || node.Data != "form" || attribute(node, "action") != action {
			continue
		}
		f := form{action: action, fields: url.Values{}}
		for input := range node.Descendants() {
			if name := attribute(input, "name"); input.Data == "input" && name != "" {
				f.fields.Set(name, attribute(input, "value"))
			}
		}
		forms = append(forms, f)
	}
	return forms
}

func attribute(node *html.Node, name string) string {
	for _, a := range node.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// send sends the form of the request of that name, or the only one, with more filled in.
func (b *browser) send(page, action, name string, more ...string) (next string) {
	b.t.Helper()
	for _, f := range formsOf(b.t, page, action) {
		if name != "" && f.fields.Get("name") != name {
			continue
		}
		for i := 0; i < len(more); i += 2 {
			f.fields.Set(more[i], more[i+1])
		}
		next, code := b.do(http.MethodPost, b.at+f.action, f.fields)
		if code != http.StatusOK {
			b.t.Errorf("%s of %s is answered with %d: %s", action, name, code, shownBy(b.t, next))
		}
		return next
	}
	b.t.Fatalf("the page has no form to %s %s: %s", action, name, shownBy(b.t, page))
	return ""
}

// shownBy is the text of a page.
func shownBy(t *testing.T, page string) string {
	t.Helper()
	_, shown := outline(t, page)
	return shown
}

func mustShow(t *testing.T, page string, wanted ...string) {
	t.Helper()
	shown := shownBy(t, page)
	for _, words := range wanted {
		if !strings.Contains(shown, words) {
			t.Errorf("the page does not show %q: %s", words, shown)
		}
	}
}

func TestForMeOnThePageIsWhatTheVerbLists(t *testing.T) {
	some := queue()
	some["accesspolicies"].(*v1alpha1.AccessPolicyList).Items[0].Status.Risks = []string{"its holder can read secrets"}
	page := browse(t, some.ServeHTTP).open("for-me")
	names := make([]string, 0, 8)
	for _, f := range formsOf(t, page, "decide") {
		names = append(names, f.fields.Get("name"))
	}
	if got := strings.Join(names, " "); got != "over-soon urgent own-allowed fresh half" {
		t.Errorf("it has %s", got)
	}
	mustShow(t, page, "its holder can read secrets", "Approve", "Deny", "as bob")
	// Enter presses the first button.
	for _, form := range strings.Split(page, `action="decide"`)[1:] {
		if _, button, _ := strings.Cut(form, "<button "); !strings.HasPrefix(button, `disabled=""`) {
			t.Errorf("the first button is %.60s", button)
		}
	}
}

func TestTheFirstPageHasWhatWaitsForWhoLooks(t *testing.T) {
	for name, tc := range map[string]struct {
		who   string
		more  func(*desk)
		opens string
		asks  int // for decisions
	}{
		"something waits":         {"bob", func(d *desk) { d.pending("first", "alice") }, "What waits for my approval", 1},
		"nothing does":            {"bob", func(*desk) {}, "What I hold", 0},
		"it waits for others":     {"alice", func(d *desk) { d.pending("first", "alice") }, "What I hold", 0},
		"it was approved already": {"bob", approvedByBob, "What I hold", 1},
		"it cannot be told": {"bob", func(d *desk) {
			d.pending("first", "alice")
			d.refuse("accesspolicies")
		}, "What I hold", 0},
		"who may see no decisions": {"bob", func(d *desk) {
			d.pending("first", "alice")
			d.refuse("accessdecisions")
		}, "What I hold", 1},
		"a lot may wait": {"bob", func(d *desk) {
			for i := range fewWaiting + 1 {
				d.pending(fmt.Sprint("r", i), "alice")
			}
		}, "What waits for my approval", 0},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, tc.who)
			tc.more(d)
			var asked atomic.Int64
			b := browse(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/"+decisionResource) {
					asked.Add(1)
				}
				d.ServeHTTP(w, r)
			})
			v, err := b.site.visit(t.Context(), httptest.NewRequest(http.MethodGet, "/", http.NoBody))
			if err != nil {
				t.Fatal(err)
			}
			v.first(t.Context())
			if got := asked.Load(); got != int64(tc.asks) {
				t.Errorf("decisions are read %d times, not %d", got, tc.asks)
			}
			mustShow(t, b.open(""), tc.opens)
		})
	}
}

func approvedByBob(d *desk) {
	d.pending("first", "alice")
	approval := v1alpha1.AccessDecision{}
	approval.Namespace, approval.CreationTimestamp = "payments", d.requests[0].CreationTimestamp
	approval.Spec = v1alpha1.AccessDecisionSpec{
		RequestRef: v1alpha1.RequestReference{Name: "first", UID: "uid-0"}, Verdict: v1alpha1.VerdictApprove,
		Reviewer: &v1alpha1.Identity{Username: "bob"},
	}
	d.decisions = append(d.decisions, approval)
}

func TestACardSaysWhatAMessageDoes(t *testing.T) {
	for hours, want := range map[int]string{1: "15:04 UTC", 30: "2006-01-02 15:04 UTC"} {
		left := time.Duration(hours) * time.Hour
		d := newDesk(t, "bob")
		d.policies[0].Spec.ApprovalTimeout = &metav1.Duration{Duration: left}
		d.pending("first", "alice")
		until := d.requests[0].CreationTimestamp.Add(left).UTC()
		d.requests[0].Status.Conditions[0].Message = "waits for 1 of bob (policy leads), until " + text.Time(until)
		page := browse(t, d.ServeHTTP).open("for-me")
		mustShow(t, page, "payments/first: edit for alice", "Whyfirst reason", "Waits until"+until.Format(want)+" (in ",
			"Approvalwaits for 1 of bobPolicyleads", "Approve first for alice")
		if want := `aria-label="Approve first for alice as edit in payments"`; !strings.Contains(page, want) {
			t.Errorf("no button has %s", want)
		}
	}
}

func TestEachPageSaysWhichClusterItIsOf(t *testing.T) {
	b := browse(t, newDesk(t, "bob").ServeHTTP)
	mustShow(t, b.open(mineAt), "Lapse, as bob")
	b.site.called = "prod</p><script>alert(1)</script>"
	for _, path := range []string{mineAt, forMeAt, askAt, nowAt} {
		page := b.open(path)
		mustShow(t, page, "Lapse on prod</p><script>alert(1)</script>, as bob")
		if strings.Contains(page, "<script>") {
			t.Errorf("%s has a script of theirs", path)
		}
	}
}

func TestForMeSaysWhatItTakesWhenItCannotBeTold(t *testing.T) {
	some := queue()
	delete(some, "accessdecisions")
	b := browse(t, some.ServeHTTP)
	page, code := b.do(http.MethodGet, b.at+"for-me", nil)
	if code != http.StatusBadGateway {
		t.Errorf("answered %d", code)
	}
	mustShow(t, page, "This page has to read requests, decisions and policies: you (bob) may not list accessdecisions.lapse.dev",
		"ask a cluster admin", "Meanwhile Now lists what waits")
	if strings.Contains(page, "--for-me") {
		t.Error("it speaks of a flag")
	}
}

func TestAPageListsAtMostSoManyOf10000Requests(t *testing.T) {
	d := newDesk(t, "bob")
	for i := range 10_000 {
		d.pending(fmt.Sprintf("r%05d", i), "alice")
	}
	b := browse(t, d.ServeHTTP)
	for _, path := range []string{
		"now", "now?page=2", "now?page=200", "now?page=201", "now?page=-1", "now?page=x", "mine", "for-me", "for-me?page=9",
	} {
		page := b.open(path)
		if cards := strings.Count(page, `class="card"`); cards > perPage || (cards == 0) != (path == "mine") {
			t.Errorf("%s has %d requests", path, cards)
		}
		if len(page) > 300_000 {
			t.Errorf("%s has %d bytes", path, len(page))
		}
	}
	mustShow(t, b.open("now?page=2"), "51 to 100 of 10000", "Earlier", "Later")
	mustShow(t, b.open("for-me"), "1 to 50 of 10000")
	mustShow(t, b.open("now?person=nobody"), "Nobody holds anything")
	if page := b.open("now?person=ALI&where=pay&page=2"); !strings.Contains(page, "page=3&amp;person=ALI&amp;where=pay") {
		t.Error("the next page has other filters")
	}
}

func TestAListIsCutIntoPages(t *testing.T) {
	for _, tc := range []struct {
		length   int
		asked    string
		from, to int
		links    string
	}{
		{0, "", 0, 0, ""},
		{1, "", 0, 1, ""},
		{50, "", 0, 50, ""},
		{50, "2", 0, 50, ""},
		{51, "", 0, 50, "1 to 50 of 51 Later"},
		{51, "2", 50, 51, "51 to 51 of 51 Earlier"},
		{150, "1", 0, 50, "1 to 50 of 150 Later"},
		{150, "2", 50, 100, "51 to 100 of 150 Earlier Later"},
		{150, "3", 100, 150, "101 to 150 of 150 Earlier"},
		{150, "4", 0, 50, "1 to 50 of 150 Later"},
		{150, "0", 0, 50, "1 to 50 of 150 Later"},
		{150, "-1", 0, 50, "1 to 50 of 150 Later"},
		{150, "x", 0, 50, "1 to 50 of 150 Later"},
		{150, "9223372036854775807", 0, 50, "1 to 50 of 150 Later"},
		{150, "9223372036854775808", 0, 50, "1 to 50 of 150 Later"},
	} {
		v := &visit{r: &http.Request{Form: url.Values{"page": {tc.asked}}}}
		from, to, links := v.pageOf(nowAt, tc.length)
		var shown bytes.Buffer
		if err := ui.Render(&shown, nil, []ui.Part{links}); err != nil {
			t.Fatal(err)
		}
		if got := shownBy(t, shown.String()); from != tc.from || to != tc.to || got != tc.links {
			t.Errorf("page %q of %d: %d to %d, %q; want %d to %d, %q", tc.asked, tc.length, from, to, got, tc.from, tc.to, tc.links)
		}
	}
}

func TestEachRequestIsOnOnePage(t *testing.T) {
	const length = 2*perPage + 20
	d := newDesk(t, "bob")
	for i := range length {
		d.pending(fmt.Sprintf("r%03d", i), "alice")
	}
	b := browse(t, d.ServeHTTP)
	for _, path := range []string{nowAt, forMeAt} {
		seen := map[string]int{}
		for page := range 3 {
			for _, link := range storyLink.FindAllStringSubmatch(b.open(fmt.Sprintf("%s?page=%d", path, page+1)), -1) {
				seen[link[1]]++
			}
		}
		for name, times := range seen {
			if times != 1 {
				t.Errorf("%s: %s is on %d pages", path, name, times)
			}
		}
		if len(seen) != length {
			t.Errorf("%s has %d requests", path, len(seen))
		}
	}
}

var storyLink = regexp.MustCompile(`href="story\?name=([^&]+)&`)

func TestOffersAreCutAfterAPageAndCounted(t *testing.T) {
	for roles, more := range map[int]string{perPage: "", perPage + 1: "And 1 more: kubectl lapse can lists them all."} {
		d := newDesk(t, "alice")
		names := make([]string, 0, roles)
		for i := range roles {
			names = append(names, fmt.Sprintf("role-%03d", i))
		}
		d.policies = []v1alpha1.AccessPolicy{*builders.Policy("many").From(builders.User("alice")).In("payments").Allowing(names...).Build()}
		page := browse(t, d.ServeHTTP).open("ask?namespace=payments")
		if rows := strings.Count(page, `href="ask?`); rows != perPage {
			t.Errorf("%d of %d roles are shown", rows, roles)
		}
		if mustShow(t, page, more); more == "" && strings.Contains(page, "lists them all") {
			t.Errorf("there are more than %d", roles)
		}
	}
}

func TestAPageShowsWhatChangesWithoutAskingTheAPIServer(t *testing.T) {
	d := newDesk(t, "bob")
	d.pending("first", "alice")
	b := browse(t, d.ServeHTTP)
	page := b.open("now")
	revision := regexp.MustCompile(`data-revision="(\d+)"`).FindStringSubmatch(page)[1]
	before := d.served()
	if got := b.open("changes"); got != revision {
		t.Errorf("nothing has changed, and it is at %s, not %s", got, revision)
	}
	if d.served() != before {
		t.Error("whoever asks whether something has changed asks the API server")
	}
	d.pending("second", "alice")
	eventually(t, "the second request is told of", func() bool { return b.open("changes") != revision })
	mustShow(t, b.open("now"), "second reason")
	d.end("second")
	eventually(t, "what is over is left out", func() bool { return !strings.Contains(b.open("now"), "second reason") })
}

func TestAPageSaysThatItIsOldWhenTheAPIServerIsAway(t *testing.T) {
	d := newDesk(t, "bob")
	d.pending("first", "alice")
	b := browse(t, d.ServeHTTP)
	mustShow(t, b.open("now"), "first reason")
	d.refuse("accessrequests")
	eventually(t, "it says so", func() bool { return strings.Contains(b.open("now"), "What is shown may be old") })
	mustShow(t, b.open("now"), "first reason", `you (bob) may not list accessrequests`)
	d.refuse()
	d.end("first")
	eventually(t, "it comes to know again", func() bool {
		return !strings.Contains(b.open("now"), "may be old") && !strings.Contains(b.open("now"), "first reason")
	})
}
