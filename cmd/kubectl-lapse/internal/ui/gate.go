// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"crypto/rand"
	"crypto/subtle"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
)

const (
	cookieName = "lapse-ui"
	// formToken is the field of each form that proves that a page of ours had it.
	formToken = "from"
	// maxBody is more than any form of ours sends, in bytes.
	maxBody = 64 << 10
	enterAt = "/enter"
	// runHeader is by what a page knows answers of the run that made it.
	runHeader = "Lapse-Run"
)

// Gate lets one browser in, by a token that works once, and nobody else.
type Gate struct {
	hosts []string // as the browser may call us, with the port
	// path has a random part: browsers send a cookie to all ports of a host, and other users of
	// this machine may serve pages on other ports. They would have to know the path to be sent it.
	path                string
	token, cookie, form string
	// run is told to the browser, and never sent by it: who has our port once we are gone cannot
	// answer for us.
	run  string
	used atomic.Bool
	// Again is called when the token comes a second time.
	Again func()
}

// NewGate for a server that is called by these names, with the port.
func NewGate(hosts ...string) *Gate {
	return &Gate{hosts: hosts, path: "/" + rand.Text() + "/", token: rand.Text(), cookie: rand.Text(), form: rand.Text(), run: rand.Text(), Again: func() {}}
}

// Address to enter by, once.
func (g *Gate) Address() string { return "http://" + g.hosts[0] + enterAt + "?token=" + g.token }

// Form is what each form has to have in it.
func (g *Gate) Form() Part { return Hidden(formToken, g.form) }

// Run marks an element by which a page's script knows our answers from those of others.
func (g *Gate) Run() Part { return Attr("data-run", g.run) }

// secure sets what holds for each answer, whatever it is.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "+
		"form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	// With no-referrer a browser sends "Origin: null" with a form, and there would be nothing to check.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// Guard lets nobody to the pages but the browser that entered.
func (g *Gate) Guard(pages http.Handler) http.Handler {
	inside := http.StripPrefix(strings.TrimSuffix(g.path, "/"), pages)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header())
		switch {
		case !slices.Contains(g.hosts, r.Host):
			refuse(w, http.StatusMisdirectedRequest, "this server is "+g.hosts[0]+", and goes by no other name")
		case r.URL.Path == enterAt:
			g.enter(w, r)
		case !fetchedBy(r, "same-origin", "none"):
			refuse(w, http.StatusForbidden, "another page asked for this")
		case !g.knows(r):
			refuse(w, http.StatusForbidden, "open the address that kubectl lapse ui says; it works once, in one browser")
		case r.Method == http.MethodGet, r.Method == http.MethodHead:
			w.Header().Set(runHeader, g.run)
			inside.ServeHTTP(w, r)
		case r.Method == http.MethodPost:
			w.Header().Set(runHeader, g.run)
			g.post(inside, w, r)
		default:
			refuse(w, http.StatusMethodNotAllowed, "GET and POST are all there is")
		}
	})
}

func refuse(w http.ResponseWriter, code int, why string) { http.Error(w, why, code) }

// fetchedBy says whether a browser names one of these sites as where a request came from.
// Scripts cannot write this header; what is no browser has none.
func fetchedBy(r *http.Request, sites ...string) bool {
	said := r.Header.Get("Sec-Fetch-Site")
	return said == "" || slices.Contains(sites, said)
}

// knows says whether the request comes from the browser that entered. Others on this host may
// have set a cookie of the same name.
func (g *Gate) knows(r *http.Request) bool {
	return slices.ContainsFunc(r.CookiesNamed(cookieName), func(c *http.Cookie) bool { return same(c.Value, g.cookie) })
}

func same(given, secret string) bool {
	return subtle.ConstantTimeCompare([]byte(given), []byte(secret)) == 1
}

// enter turns the token into a cookie. The browser is led on by a page, not by a redirect: where
// a file or a chat led here, browsers do not send a strict cookie along with a redirect.
func (g *Gate) enter(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method != http.MethodGet:
		refuse(w, http.StatusMethodNotAllowed, "only GET enters")
		return
	case !same(r.URL.Query().Get("token"), g.token):
		refuse(w, http.StatusForbidden, "this is not the address that kubectl lapse ui says; it is another one each time")
		return
	case !g.used.CompareAndSwap(false, true):
		g.Again()
		refuse(w, http.StatusForbidden, "this address was used before, and works once: go to the page that is open already. If that was not you, end "+
			"kubectl lapse ui with Ctrl-C")
		return
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: g.cookie, Path: g.path, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Referrer-Policy", "no-referrer") // the address of this page has the token
	_ = Render(w, []Part{
		El("title", Text("Lapse")),
		El("meta", Attr("http-equiv", "refresh"), Attr("content", "0; url="+g.path)),
	}, []Part{El("a", Attr("href", g.path), Text("Go on"))})
}

// post takes a form that a page of ours had.
func (g *Gate) post(inside http.Handler, w http.ResponseWriter, r *http.Request) {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	switch {
	case r.Header.Get("Origin") != "http://"+r.Host, !fetchedBy(r, "same-origin"):
		refuse(w, http.StatusForbidden, "another page sent this")
	case kind != "application/x-www-form-urlencoded":
		refuse(w, http.StatusUnsupportedMediaType, "forms alone are taken")
	case r.ParseForm() != nil:
		refuse(w, http.StatusBadRequest, "this form cannot be read, or is larger than any of ours")
	case !same(r.PostForm.Get(formToken), g.form):
		refuse(w, http.StatusForbidden, "this form is of no page of ours, or of another run of kubectl lapse ui; load the page again")
	default:
		inside.ServeHTTP(w, r)
	}
}
