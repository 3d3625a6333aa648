// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/lapse-dev/lapse/cmd/kubectl-lapse/internal/ui"
)

// outage is a browser at a desk that may break.
type outage struct {
	*browser
	desk              *desk
	broken            atomic.Bool
	decision, request url.Values // the forms that it sends
}

// What the kubeconfig has, besides the address of the API server.
const (
	bearerToken      = "c2VjcmV0LXRva2Vu"
	credentialPlugin = "/opt/corp/login"
)

// newOutage breaks as it is told; whether it still knows who looks is another matter.
func newOutage(t *testing.T, breaks func(http.ResponseWriter), knowsMe bool) *outage {
	t.Helper()
	o := &outage{desk: newDesk(t, "bob")}
	o.desk.pending("first", "alice")
	o.browser = browse(t, func(w http.ResponseWriter, r *http.Request) {
		if o.broken.Load() && (!knowsMe || !strings.HasSuffix(r.URL.Path, "/selfsubjectreviews")) {
			breaks(w)
			return
		}
		o.desk.ServeHTTP(w, r)
	})
	o.site.c.config.BearerToken, o.site.credentials = bearerToken, credentialPlugin
	o.decision, o.request = formsOf(t, o.open(forMeAt), "decide")[0].fields, formsOf(t, o.open(askAt), askAt)[0].fields
	o.decision.Set("verdict", "Approve")
	for field, value := range map[string]string{"role": "edit", "namespace": "payments", "reason": "INC-1"} {
		o.request.Set(field, value)
	}
	return o
}

func away(http.ResponseWriter) { panic(http.ErrAbortHandler) }

func unauthorized(w http.ResponseWriter) { w.WriteHeader(http.StatusUnauthorized) }

// visited are all pages, and what comes of each form, by their paths.
func (o *outage) visited() (pages map[string]string, codes map[string]int) {
	o.t.Helper()
	pages, codes = map[string]string{}, map[string]int{}
	for _, path := range []string{mineAt, forMeAt, nowAt, askAt, storyAt + "?namespace=payments&name=first"} {
		pages[path], codes[path] = o.do(http.MethodGet, o.at+path, nil)
	}
	for _, path := range []string{"decide", "return"} {
		pages["POST "+path], codes["POST "+path] = o.do(http.MethodPost, o.at+path, o.decision)
	}
	for _, do := range []string{"check", "try", "ask"} {
		o.request.Set("do", do)
		pages["POST ask "+do], codes["POST ask "+do] = o.do(http.MethodPost, o.at+askAt, o.request)
	}
	return pages, codes
}

// mustHideKubeconfig fails if a page has anything of it.
func (o *outage) mustHideKubeconfig(pages map[string]string) {
	o.t.Helper()
	server := o.site.c.config.Host
	for path, page := range pages {
		for _, part := range []string{bearerToken, credentialPlugin, strings.TrimPrefix(server, "http://"), "kubeconfig", "KUBECONFIG"} {
			if strings.Contains(page, part) {
				o.t.Errorf("%s has %q: %s", path, part, shownBy(o.t, page))
			}
		}
	}
}

func TestAPageSaysNothingOfTheKubeconfig(t *testing.T) {
	o := newOutage(t, away, false)
	pages, codes := o.visited()
	o.mustHideKubeconfig(pages)
	for path, code := range codes {
		if code != http.StatusOK {
			t.Errorf("%s is answered with %d", path, code)
		}
	}
}

const (
	elsewhereSaid = "the API server cannot be asked; the terminal in which kubectl lapse ui runs says why"
	loginSaid     = "the API server does not accept who you are, or not any more: log in again, as the terminal says"
)

func TestTheTerminalSaysWhatIsWrongAndNoPageDoes(t *testing.T) {
	for name, tc := range map[string]struct {
		breaks  func(http.ResponseWriter)
		knowsMe bool
		says    string
		shows   string
	}{
		"it is away":                          {away, false, "the API server at SERVER cannot be reached", elsewhereSaid},
		"it does not accept who looks":        {unauthorized, false, credentialPlugin + " gives; log in again with it", loginSaid},
		"it does so no longer, in the middle": {unauthorized, true, credentialPlugin + " gives; log in again with it", loginSaid},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOutage(t, tc.breaks, tc.knowsMe)
			o.broken.Store(true)
			pages, codes := o.visited()
			o.mustHideKubeconfig(pages)
			for path, page := range pages {
				// The form is shown, with what was filled in, or what came of it, and what was watched until then.
				form, watched := strings.HasPrefix(path, "POST ") || path == askAt, path == mineAt || path == nowAt
				want := http.StatusBadGateway
				if tc.knowsMe && (form || watched) {
					want = http.StatusOK
				}
				if codes[path] != want {
					t.Errorf("%s is answered with %d", path, codes[path])
				}
				if want != http.StatusOK || form {
					mustShow(t, page, tc.shows)
				}
			}
			mustSay(t, o.terminal.String(), strings.ReplaceAll(tc.says, "SERVER", o.site.c.config.Host))
			o.desk.mustHaveSaid()
		})
	}
}

func TestAnOldListSaysNothingOfTheKubeconfig(t *testing.T) {
	o := newOutage(t, unauthorized, true)
	o.broken.Store(true)
	o.desk.refuse() // which ends the watch
	eventually(t, "it says that it is old", func() bool {
		return strings.Contains(shownBy(t, o.open(nowAt)), "What is shown may be old: "+loginSaid)
	})
	o.mustHideKubeconfig(map[string]string{mineAt: o.open(mineAt), nowAt: o.open(nowAt)})
}

func TestAPageGoesOnWhenWhoLooksLoggedIn(t *testing.T) {
	for credentials, wanted := range map[string]string{
		credentialPlugin: "this page goes on by itself then",
		"":               "end kubectl lapse ui with Ctrl-C in its terminal, which says more, and start it anew",
	} {
		o := newOutage(t, unauthorized, false)
		o.site.credentials = credentials
		o.broken.Store(true)
		page, _ := o.do(http.MethodGet, o.at+nowAt, nil)
		mustShow(t, page, "log in again", wanted)
		o.broken.Store(false)
		mustShow(t, o.open(nowAt), "first reason")
	}
}

func TestAPageIsAnsweredThoughALoginHangs(t *testing.T) {
	p := against(t, http.NotFound)
	c, err := p.connect()
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		loggedIn := make(chan struct{})
		c.http.Transport = roundTripper(func(*http.Request) (*http.Response, error) {
			<-loggedIn // as client-go waits for a credential plugin: whatever the end of the call
			return nil, errors.New("nobody logged in")
		})
		w := httptest.NewRecorder()
		newSite(p, c, ui.NewGate("127.0.0.1:4711"), "").routes().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/"+nowAt, http.NoBody))
		close(loggedIn)
		if w.Code != http.StatusServiceUnavailable {
			t.Errorf("answered %d", w.Code)
		}
		mustShow(t, w.Body.String(), "No answer came", "look at the terminal")
	})
}

func TestTheTerminalSaysNothingOfAPageThatNobodyWaitsFor(t *testing.T) {
	said := &bytes.Buffer{}
	p := newPlugin(genericiooptions.IOStreams{ErrOut: said})
	p.terminal = &terminal{out: said}
	got := p.explain(&url.Error{Op: "Get", URL: "https://example.org", Err: context.Canceled})
	if got != "interrupted" || said.Len() > 0 {
		t.Errorf("the page says %q, and the terminal %q", got, said)
	}
}
