// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/cmd/kubectl-lapse/internal/ui"
)

const (
	// visitTimeout bounds one answer. A decision alone may take settledWithin.
	visitTimeout = 30 * time.Second
	// lateAfter is when an answer is given without it: client-go does not heed the end of a call while
	// a credential plugin runs, and that may wait for somebody to log in.
	lateAfter = visitTimeout + 5*time.Second
)

// site are the pages of `kubectl lapse ui`.
type site struct {
	*plugin
	c         *cluster
	called    string // what the kubeconfig calls the cluster; may be empty
	gate      *ui.Gate
	namespace string   // that is looked at; empty is all of them
	logs      []string // audit logs of kube-apiserver, if any are given
	live      *live
	terminal  *terminal

	mu    sync.Mutex
	notes []notice // what came of what was done, to be shown after it
	first int      // the number of the first of them
}

// maxNotes are kept: a page may be loaded again.
const maxNotes = 32

// notice is what came of something.
type notice struct {
	text string
	bad  bool
}

func newSite(p *plugin, c *cluster, gate *ui.Gate, namespace string) *site {
	return &site{
		plugin: p, c: c, called: p.config.clusterName(), gate: gate, namespace: namespace, live: newLive(), terminal: &terminal{out: p.ErrOut},
	}
}

// terminal is told by many pages at once, and the same only once in a row.
type terminal struct {
	mu   sync.Mutex
	out  io.Writer
	last string
}

func (t *terminal) Write(line []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if string(line) == t.last {
		return len(line), nil
	}
	t.last = string(line)
	return t.out.Write(line)
}

// keep keeps a note, and returns what it is found by.
func (s *site) keep(n notice) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes = append(s.notes, n)
	if len(s.notes) > maxNotes {
		s.notes, s.first = s.notes[1:], s.first+1
	}
	return strconv.Itoa(s.first + len(s.notes) - 1)
}

func (s *site) noted(id string) (notice, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := strconv.Atoi(id)
	if err != nil || n < s.first || n >= s.first+len(s.notes) {
		return notice{}, false
	}
	return s.notes[n-s.first], true
}

// visit is one look at a page, by whom the API server takes for the caller.
type visit struct {
	*plugin // whose streams are this visit's
	site    *site
	r       *http.Request
	me      *v1alpha1.Identity
	heard   *bytes.Buffer // what verbs say
}

// target is a page, and what of it.
type target struct {
	path  string
	query url.Values
}

// view is what a page shows, and its title.
type view func(ctx context.Context, v *visit) (title string, main []ui.Part, err error)

// elsewhere is for a view that did something, and leads on.
type elsewhere struct {
	to   target
	said notice
}

func (*elsewhere) Error() string { return "it is done" }

// action does something to a request, and says what came of it.
type action func(ctx context.Context, v *visit) (req *v1alpha1.AccessRequest, said notice)

func (s *site) routes() http.Handler {
	mux := http.NewServeMux()
	ui.Assets(mux)
	mux.HandleFunc("GET /{$}", s.begin)
	for path, show := range map[string]view{
		mineAt: mineView, forMeAt: forMeView, askAt: askView, nowAt: nowView, storyAt: storyView, callsAt: callsView, doneAt: doneView,
	} {
		mux.HandleFunc("GET /"+path, func(w http.ResponseWriter, r *http.Request) { s.show(w, r, show) })
	}
	mux.HandleFunc("POST /"+askAt, func(w http.ResponseWriter, r *http.Request) { s.show(w, r, askView) })
	for path, act := range map[string]action{"decide": decide, "return": giveBack} {
		mux.HandleFunc("POST /"+path, func(w http.ResponseWriter, r *http.Request) { s.act(w, r, act) })
	}
	mux.HandleFunc("GET /changes", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte(strconv.Itoa(s.live.at())))
	})
	return http.TimeoutHandler(mux, lateAfter, s.late())
}

// late is the page that comes when another one does not.
func (s *site) late() string {
	var page strings.Builder
	_ = ui.Render(&page, ui.Head("Lapse"), s.body(nil, "No answer came", []ui.Part{noteOf(notice{
		"the API server is slow, or what logs you in waits for you: look at the terminal in which kubectl lapse ui runs; if this was to do something, " +
			"look whether it was done", true,
	})}))
	return page.String()
}

// visit begins one. The verbs talk into a buffer, and are in the namespace that is asked for.
func (s *site) visit(ctx context.Context, r *http.Request) (*visit, error) {
	heard := &bytes.Buffer{}
	p := *s.plugin
	p.IOStreams = genericiooptions.IOStreams{In: strings.NewReader(""), Out: &bytes.Buffer{}, ErrOut: heard}
	p.terminal, p.within = s.terminal, s.namespace
	if err := r.ParseForm(); err != nil {
		return nil, apierrors.NewBadRequest("the address cannot be read")
	}
	if ns := r.Form.Get("namespace"); ns != "" {
		p.within = ns
	}
	v := &visit{plugin: &p, site: s, r: r, heard: heard}
	var err error
	v.me, err = s.c.whoami(ctx)
	return v, err
}

func (s *site) show(w http.ResponseWriter, r *http.Request, show view) {
	ctx, cancel := context.WithTimeout(r.Context(), visitTimeout)
	defer cancel()
	v, err := s.visit(ctx, r)
	var title string
	var main []ui.Part
	if err == nil {
		title, main, err = show(ctx, v)
	}
	if done, found := errors.AsType[*elsewhere](err); found {
		s.goOn(w, done.to, done.said)
		return
	}
	if err != nil {
		title, main = "This cannot be shown", []ui.Part{noteOf(notice{s.explained(v, err), true})}
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(statusOf(err))
	_ = ui.Render(w, ui.Head(title+" · Lapse"), s.body(v, title, main))
}

// begin leads to the page that opens.
func (s *site) begin(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), visitTimeout)
	defer cancel()
	at := mineAt
	if v, err := s.visit(ctx, r); err == nil {
		at = v.first(ctx)
	}
	seeOther(w, at)
}

// act does something, and leads to a page without a button: a second click there does nothing.
func (s *site) act(w http.ResponseWriter, r *http.Request, act action) {
	ctx, cancel := context.WithTimeout(r.Context(), visitTimeout)
	defer cancel()
	v, err := s.visit(ctx, r)
	if err != nil {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(statusOf(err))
		_ = ui.Render(w, ui.Head("Lapse"), s.body(v, "Nothing was done", []ui.Part{noteOf(notice{s.explained(v, err), true})}))
		return
	}
	req, said := act(ctx, v)
	said.text = titleText(req) + "\n" + said.text
	to := addressOf(req)
	to.Set("back", r.PostForm.Get("back"))
	s.goOn(w, target{doneAt, to}, said)
}

// goOn leads to another page, on which something is said.
func (s *site) goOn(w http.ResponseWriter, to target, said notice) {
	to.query.Set("said", s.keep(said))
	seeOther(w, ui.Address(to.path, to.query))
}

// seeOther leads to another page, which is next to this one: http.Redirect would make an address of
// what is left of the path here.
func seeOther(w http.ResponseWriter, to string) {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}

// statusOf an answer about an error; 200 without one.
func statusOf(err error) int {
	switch {
	case err == nil:
		return http.StatusOK
	case apierrors.IsNotFound(err):
		return http.StatusNotFound
	case apierrors.IsForbidden(err):
		return http.StatusForbidden
	case apierrors.IsBadRequest(err):
		return http.StatusBadRequest
	default:
		return http.StatusBadGateway
	}
}

// explained is what a page may say of an error. v is nil if there is none yet.
func (s *site) explained(v *visit, err error) string {
	if v != nil {
		return explainedBy(v.plugin, err)
	}
	p := *s.plugin
	p.terminal = s.terminal
	return explainedBy(&p, err)
}

func explainedBy(p *plugin, err error) string {
	var ended *exitError
	if errors.As(err, &ended) && ended.message != "" {
		return strings.TrimPrefix(ended.message, "error: ")
	}
	return p.explain(err)
}
