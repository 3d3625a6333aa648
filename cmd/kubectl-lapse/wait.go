// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/text"
)

// firstWordWithin is how long the operator is given for its first word on a request;
// it takes some tens of milliseconds.
const firstWordWithin = 3 * time.Second

// firstWord says what the operator makes of a request: which policy it is under, and
// who has to approve.
func (p *plugin) firstWord(ctx context.Context, c *cluster, req *v1alpha1.AccessRequest) error {
	asked := req.DeepCopy()
	waiting, cancel := context.WithTimeout(ctx, firstWordWithin)
	defer cancel()
	for seen := range p.only(waiting, c, req) {
		if seen.last || seen.kind == watch.Deleted {
			break
		}
		if seen.req == nil || seen.req.UID != req.UID || seen.req.Status.State == "" {
			continue
		}
		return p.verdict(seen.req)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	p.say("the operator has not looked at %s yet; kubectl lapse doctor says whether it runs. By the policies as they are now:", asked.Name)
	if _, err := p.foretell(ctx, c, asked); err != nil {
		return err
	}
	return &exitError{code: exitUnknown}
}

// only follows one request.
func (p *plugin) only(ctx context.Context, c *cluster, req *v1alpha1.AccessRequest) <-chan change {
	return p.changes(ctx, c, req.Namespace, named(req.Name))
}

// named selects one object by its name.
func named(name string) fields.Selector { return fields.OneTermEqualSelector("metadata.name", name) }

// verdict says how a request stands, and is an exitError unless access is held: what comes
// after it in a script needs that.
func (p *plugin) verdict(req *v1alpha1.AccessRequest) error {
	switch state := req.Status.State; {
	case state == v1alpha1.StateActive:
		p.say("%s", p.grantedText(req))
		return nil
	case state.Final():
		return refused("%s", standText(req))
	case state == v1alpha1.StatePending:
		return waits("%s %s\nthey approve with: kubectl lapse approve %s -n %s", req.Name, messageOf(req), req.Name, req.Namespace)
	default:
		return waits("%s", standText(req))
	}
}

func (p *plugin) grantedText(req *v1alpha1.AccessRequest) string {
	text := fmt.Sprintf("granted: %s holds %s %s in %s", grantee(req), req.Spec.RoleRef.Kind, req.Spec.RoleRef.Name, req.Namespace)
	if g := req.Status.Grant; g != nil {
		text += " until " + at(p.clock.now(), g.ExpiresAt)
	}
	return text
}

// standText is how a request stands, and why.
func standText(req *v1alpha1.AccessRequest) string {
	return fmt.Sprintf("%s: %s: %s", req.Name, stateText(req), messageOf(req))
}

// waiting is `kubectl lapse request --wait`.
type waiting struct {
	*plugin
	req    *v1alpha1.AccessRequest
	screen *screen
	began  time.Time
	line   string // what was said last
}

// await follows a request until it is granted or refused, or the time is over.
func (p *plugin) await(ctx context.Context, c *cluster, req *v1alpha1.AccessRequest, timeout time.Duration) error {
	w := &waiting{plugin: p, req: req, screen: newScreen(p.ErrOut), began: time.Now()}
	following, stop := context.WithCancel(ctx)
	defer stop()
	var over <-chan time.Time // never, without a timeout
	if timeout > 0 {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		over = timer.C
	}
	ticker := time.NewTicker(redrawEvery)
	defer ticker.Stop()
	defer w.screen.clear()
	changes := p.only(following, c, req)
	for {
		select {
		case <-ctx.Done():
			return w.stays(exitInterrupted, "interrupted")
		case <-over:
			return w.stays(exitUnknown, fmt.Sprintf("not decided within %s: %s", text.Duration(timeout), w.last()))
		case <-ticker.C:
			w.show()
		case seen, open := <-changes:
			if !open {
				return w.stays(exitInterrupted, "interrupted")
			}
			if done, err := w.see(seen); done {
				return err
			}
		}
	}
}

// see takes a change in; done when there is nothing to wait for any more.
func (w *waiting) see(seen change) (done bool, err error) {
	switch {
	case seen.last:
		if unauthenticated(seen.err) {
			w.screen.leave() // the words of a credential plugin stand there
		}
		return true, w.stays(exitFailed, "error: "+w.explain(seen.err))
	case seen.kind == watch.Error:
		w.screen.clear()
		w.say("%s; trying again", w.explain(seen.err))
		return false, nil
	case seen.req == nil || seen.req.UID != w.req.UID:
		return false, nil
	case seen.kind == watch.Deleted:
		w.screen.clear()
		return true, refused("%s was deleted, and with it what it asked for", w.req.Name)
	}
	w.req = seen.req
	if state := w.req.Status.State; state == v1alpha1.StateActive || state.Final() {
		w.screen.clear()
		return true, w.verdict(w.req)
	}
	w.show()
	return false, nil
}

// show draws the live line or, without a terminal, a line for each new state.
func (w *waiting) show() {
	line := w.req.Name + " " + w.state()
	if w.screen.live() {
		w.screen.draw([]string{fmt.Sprintf("[%s] %s", time.Since(w.began).Truncate(time.Second), line)})
		return
	}
	if line != w.line {
		w.say("%s", line)
	}
	w.line = line
}

// state in words, such as: waits for 1 of Group "sre-leads".
func (w *waiting) state() string {
	if w.req.Status.State == "" {
		return "waits for the operator"
	}
	if w.req.Status.State == v1alpha1.StatePending {
		return messageOf(w.req)
	}
	return stateText(w.req) + ": " + messageOf(w.req)
}

// last is the state at the end. What a message has below its first line, such as YAML, is not said
// twice.
func (w *waiting) last() string {
	state := w.state()
	if first, _, more := strings.Cut(state, "\n"); more && w.line == w.req.Name+" "+state {
		return first + " (see above)"
	}
	return state
}

// stays ends the wait and not the request.
func (w *waiting) stays(code int, why string) error {
	w.screen.clear()
	return &exitError{code, fmt.Sprintf("%s\n%s stays as it is; to withdraw it: kubectl lapse return %s -n %s", why, w.req.Name, w.req.Name, w.req.Namespace)}
}
