// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

const host = "127.0.0.1:4711"

// call is a request, of which each test spoils a part.
type call struct {
	method, path, host, cookie, body string
	header                           map[string]string
}

// reading is how the browser that entered reads a page.
func reading(g *Gate) call {
	return call{
		method: http.MethodGet, path: g.path + "page", host: host, cookie: g.cookie, header: map[string]string{"Sec-Fetch-Site": "same-origin"},
	}
}

// sending is how it sends a form.
func sending(g *Gate) call {
	return call{
		method: http.MethodPost, path: g.path + "act", host: host, cookie: g.cookie, body: url.Values{formToken: {g.form}}.Encode(),
		header: map[string]string{
			"Sec-Fetch-Site": "same-origin", "Origin": "http://" + host, "Content-Type": "application/x-www-form-urlencoded",
		},
	}
}

// entering is how a browser comes from a file.
func entering(g *Gate) call {
	return call{
		method: http.MethodGet, path: strings.TrimPrefix(g.Address(), "http://"+host), host: host,
		header: map[string]string{"Sec-Fetch-Site": "cross-site"},
	}
}

func (c call) to(g *Gate) *httptest.ResponseRecorder {
	r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
	r.Host = c.host
	if c.cookie != "" {
		r.AddCookie(&http.Cookie{Name: cookieName, Value: c.cookie})
	}
	for name, value := range c.header {
		r.Header.Set(name, value)
	}
	mux := http.NewServeMux()
	for _, pattern := range []string{"GET /page", "POST /act", "GET /{$}"} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "inside") })
	}
	Assets(mux)
	w := httptest.NewRecorder()
	g.Guard(mux).ServeHTTP(w, r)
	return w
}

func newGate() *Gate { return NewGate(host, "localhost:4711") }

func TestNobodyGetsInButTheBrowserThatEntered(t *testing.T) {
	other := newGate()
	for name, tc := range map[string]struct {
		begin func(*Gate) call
		spoil func(*call)
		want  int
	}{
		"a page":                            {reading, func(*call) {}, http.StatusOK},
		"a page by its other name":          {reading, func(c *call) { c.host = "localhost:4711" }, http.StatusOK},
		"a page typed into the address bar": {reading, func(c *call) { c.header["Sec-Fetch-Site"] = "none" }, http.StatusOK},
		"a page from an old browser":        {reading, func(c *call) { delete(c.header, "Sec-Fetch-Site") }, http.StatusOK},
		"another host":                      {reading, func(c *call) { c.host = "evil.example:4711" }, http.StatusMisdirectedRequest},
		"a host that only begins so":        {reading, func(c *call) { c.host = host + ".evil.example" }, http.StatusMisdirectedRequest},
		"another port":                      {reading, func(c *call) { c.host = "127.0.0.1:4712" }, http.StatusMisdirectedRequest},
		"no port":                           {reading, func(c *call) { c.host = "127.0.0.1" }, http.StatusMisdirectedRequest},
		"no cookie":                         {reading, func(c *call) { c.cookie = "" }, http.StatusForbidden},
		"a wrong cookie":                    {reading, func(c *call) { c.cookie = c.cookie[1:] + "A" }, http.StatusForbidden},
		"the cookie of another run":         {reading, func(c *call) { c.cookie = other.cookie }, http.StatusForbidden},
		"the path of another run":           {reading, func(c *call) { c.path = other.path + "page" }, http.StatusNotFound},
		"no such path":                      {reading, func(c *call) { c.path = "/page" }, http.StatusNotFound},
		"asked for by another site":         {reading, func(c *call) { c.header["Sec-Fetch-Site"] = "cross-site" }, http.StatusForbidden},
		"asked for by another port":         {reading, func(c *call) { c.header["Sec-Fetch-Site"] = "same-site" }, http.StatusForbidden},
		"an asset":                          {reading, func(c *call) { c.path = strings.TrimSuffix(c.path, "page") + "page.js" }, http.StatusOK},
		"an asset without the cookie": {reading, func(c *call) {
			c.path, c.cookie = strings.TrimSuffix(c.path, "page")+"page.js", ""
		}, http.StatusForbidden},
		"a method that is none of ours":  {reading, func(c *call) { c.method = http.MethodPut }, http.StatusMethodNotAllowed},
		"a form":                         {sending, func(*call) {}, http.StatusOK},
		"GET where forms are sent":       {sending, func(c *call) { c.method = http.MethodGet }, http.StatusMethodNotAllowed},
		"a form to a page":               {sending, func(c *call) { c.path = c.path[:len(c.path)-3] + "page" }, http.StatusMethodNotAllowed},
		"a form from another origin":     {sending, func(c *call) { c.header["Origin"] = "http://evil.example" }, http.StatusForbidden},
		"a form from another port":       {sending, func(c *call) { c.header["Origin"] = "http://127.0.0.1:80" }, http.StatusForbidden},
		"a form from our other name":     {sending, func(c *call) { c.header["Origin"] = "http://localhost:4711" }, http.StatusForbidden},
		"a form from no origin":          {sending, func(c *call) { c.header["Origin"] = "null" }, http.StatusForbidden},
		"a form that hides its origin":   {sending, func(c *call) { delete(c.header, "Origin") }, http.StatusForbidden},
		"a form that another site sent":  {sending, func(c *call) { c.header["Sec-Fetch-Site"] = "cross-site" }, http.StatusForbidden},
		"a form that nobody sent":        {sending, func(c *call) { c.header["Sec-Fetch-Site"] = "none" }, http.StatusForbidden},
		"a form without the cookie":      {sending, func(c *call) { c.cookie = "" }, http.StatusForbidden},
		"a form that is none of ours":    {sending, func(c *call) { c.body = "" }, http.StatusForbidden},
		"a form of another run":          {sending, func(c *call) { c.body = formToken + "=" + other.form }, http.StatusForbidden},
		"its token in the address":       {sending, func(c *call) { c.path, c.body = c.path+"?"+c.body, "" }, http.StatusForbidden},
		"a form with a charset":          {sending, as("application/x-www-form-urlencoded; charset=UTF-8"), http.StatusOK},
		"a text, not a form":             {sending, as("text/plain"), http.StatusUnsupportedMediaType},
		"JSON, not a form":               {sending, as("application/json"), http.StatusUnsupportedMediaType},
		"a form in parts":                {sending, as("multipart/form-data; boundary=x"), http.StatusUnsupportedMediaType},
		"a type that only begins so":     {sending, as("application/x-www-form-urlencoded-not"), http.StatusUnsupportedMediaType},
		"a form that hides its type":     {sending, as(""), http.StatusUnsupportedMediaType},
		"a form as long as may be":       {sending, filledUpTo(maxBody), http.StatusOK},
		"a form that is longer by one":   {sending, filledUpTo(maxBody + 1), http.StatusBadRequest},
		"a form that cannot be read":     {sending, func(c *call) { c.body += "&x=%zz" }, http.StatusBadRequest},
		"the address":                    {entering, func(*call) {}, http.StatusOK},
		"the address by another host":    {entering, func(c *call) { c.host = "evil.example" }, http.StatusMisdirectedRequest},
		"an address with a wrong token":  {entering, func(c *call) { c.path = enterAt + "?token=" + other.token }, http.StatusForbidden},
		"an address without a token":     {entering, func(c *call) { c.path = enterAt }, http.StatusForbidden},
		"the address, by a form":         {entering, func(c *call) { c.method = http.MethodPost }, http.StatusMethodNotAllowed},
		"the address, looked up by HEAD": {entering, func(c *call) { c.method = http.MethodHead }, http.StatusMethodNotAllowed},
		"the token in a cookie's place":  {entering, func(c *call) { c.path, c.cookie = "/x", "x" }, http.StatusForbidden},
		"the form's token as the cookie": {sending, func(c *call) {
			c.cookie = strings.TrimPrefix(c.body, formToken+"=")
		}, http.StatusForbidden},
		"several Hosts in one":            {reading, func(c *call) { c.host = host + "," + host }, http.StatusMisdirectedRequest},
		"a Host that is written in full":  {reading, func(c *call) { c.host = "http://" + host }, http.StatusMisdirectedRequest},
		"a Host with another's authority": {reading, func(c *call) { c.host = host + "@evil.example" }, http.StatusMisdirectedRequest},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate()
			c := tc.begin(g)
			tc.spoil(&c)
			w := c.to(g)
			if w.Code != tc.want {
				t.Errorf("answered %d (%s), want %d", w.Code, w.Body, tc.want)
			}
			if w.Code != http.StatusOK && strings.Contains(w.Body.String(), "inside") {
				t.Error("it got inside")
			}
			mustBeSecure(t, w.Header())
			mustKeepSecrets(t, g, &c, w)
			mustAnswerForTheRun(t, g, &c, w)
		})
	}
}

func as(kind string) func(*call) { return func(c *call) { c.header["Content-Type"] = kind } }

// filledUpTo makes a form that long by one field: of fields Go takes some thousands alone.
func filledUpTo(bytes int) func(*call) {
	return func(c *call) {
		c.body += "&x="
		c.body += strings.Repeat("x", bytes-len(c.body))
	}
}

func mustBeSecure(t *testing.T, h http.Header) {
	t.Helper()
	for name, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; " +
			"form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
		"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
		"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
	} {
		if got := h.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := h.Get("Referrer-Policy"); got != "same-origin" && got != "no-referrer" {
		t.Errorf("Referrer-Policy is %q", got)
	}
	if got := h.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("other origins may read it: %q", got)
	}
}

// mustKeepSecrets fails if an answer tells a secret to somebody who did not have it.
func mustKeepSecrets(t *testing.T, g *Gate, c *call, w *httptest.ResponseRecorder) {
	t.Helper()
	entered := strings.HasSuffix(c.path, g.token) && w.Code == http.StatusOK
	all := w.Body.String()
	for name, values := range w.Header() {
		all += name + strings.Join(values, "")
	}
	for _, secret := range []string{g.token, g.form, g.cookie, g.path} {
		if strings.Contains(all, secret) && (!entered || secret != g.cookie && secret != g.path) {
			t.Errorf("the answer tells a secret: %s", all)
		}
	}
}

// mustAnswerForTheRun fails unless the browser that entered, and nobody else, is told of which run an answer is.
func mustAnswerForTheRun(t *testing.T, g *Gate, c *call, w *httptest.ResponseRecorder) {
	t.Helper()
	page := w.Code == http.StatusOK && !strings.HasPrefix(c.path, enterAt)
	if told := w.Header().Get(runHeader); page && told != g.run || c.cookie != g.cookie && told != "" {
		t.Errorf("the answer is of the run %q, want %q", told, g.run)
	}
}

func TestTheTokenBecomesAStrictCookie(t *testing.T) {
	g := newGate()
	w := entering(g).to(g)
	// Without Max-Age and Expires it goes with the browser, and without Domain to no other host.
	want := cookieName + "=" + g.cookie + "; Path=" + g.path + "; HttpOnly; SameSite=Strict"
	if got := w.Header().Values("Set-Cookie"); !slices.Equal(got, []string{want}) {
		t.Errorf("the cookies are %q, want %q", got, want)
	}
	if page := w.Body.String(); !strings.Contains(page, "0; url="+g.path) || w.Header().Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("it leads on by %s, with %v", page, w.Header())
	}
}

func TestTheTokenWorksOnce(t *testing.T) {
	g := newGate()
	alarms := 0
	g.Again = func() { alarms++ }
	entering(g).to(g)
	second := entering(g).to(g)
	if second.Code != http.StatusForbidden || len(second.Result().Cookies()) > 0 || alarms != 1 {
		t.Errorf("the second time: %d %s, %d alarms", second.Code, second.Body, alarms)
	}
	if reading(g).to(g).Code != http.StatusOK {
		t.Error("the browser that entered is out")
	}
}

func TestAForeignCookieOfThatNameLocksNobodyOut(t *testing.T) {
	g := newGate()
	c := reading(g)
	c.header["Cookie"] = cookieName + "=planted; " + cookieName + "=" + g.cookie
	if w := c.to(g); w.Code != http.StatusOK {
		t.Errorf("answered %d", w.Code)
	}
}

func TestSecretsAreLongAndEachRunHasItsOwn(t *testing.T) {
	seen := map[string]bool{}
	for range 2 {
		g := newGate()
		for _, secret := range []string{g.token, g.cookie, g.form, strings.Trim(g.path, "/")} {
			if len(secret) < 26 || seen[secret] { // 26 characters of 5 bits
				t.Errorf("the secret %q is short, or known", secret)
			}
			seen[secret] = true
		}
	}
}
