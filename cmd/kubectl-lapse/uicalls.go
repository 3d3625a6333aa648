// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/cmd/kubectl-lapse/internal/ui"
	"github.com/lapse-dev/lapse/internal/audit"
)

// maxCalls of a kind are on a page.
const maxCalls = 200

// callsLink leads from the story of a request to its calls, where an audit log is given.
func (v *visit) callsLink(req *v1alpha1.AccessRequest) ui.Part {
	return ui.If(len(v.site.logs) > 0 && req.Status.Grant != nil,
		ui.El("p", ui.Link(callsAt, addressOf(req), ui.Text("What was done with it, by the audit log"))))
}

// callsView tells what was done with access, as the verb report does. It is a page of its own, which
// is not kept up to date: each time the whole log is read.
func callsView(ctx context.Context, v *visit) (title string, main []ui.Part, err error) {
	req := &v1alpha1.AccessRequest{}
	if err := v.site.c.get(ctx, v.namespace(), v.r.Form.Get("name"), req); err != nil {
		return "", nil, err
	}
	switch {
	case len(v.site.logs) == 0:
		return "", nil, &exitError{exitFailed, "no audit log is given; kubectl lapse ui --audit-log FILE takes one"}
	case req.Status.Grant == nil:
		return "", nil, &exitError{exitFailed, "nothing was done with it: no access was given"}
	}
	r, err := v.site.readCalls(ctx, req)
	if err != nil {
		return "", nil, err
	}
	main = []ui.Part{
		ui.El("p", ui.Link(storyAt, addressOf(req), ui.Text("Back to its story"))),
		ui.El("p", ui.Class("soft"), ui.Text("What the audit policy of the cluster does not log is not told.")),
	}
	if unread := r.Unread(); unread > 0 {
		main = append(main, noteOf(notice{fmt.Sprintf("%d lines of the audit log were not understood", unread), true}))
	}
	for _, history := range r.Histories() {
		for _, class := range classesOf(history) {
			main = append(main, callsOf(class))
		}
	}
	return "What was done with " + req.Name + " in " + req.Namespace, main, nil
}

// readCalls reads the calls of one request, by what it says itself: no records are needed.
func (s *site) readCalls(ctx context.Context, req *v1alpha1.AccessRequest) (*audit.Reporter, error) {
	r := audit.NewReporter(audit.Question{Request: string(req.UID)})
	records := audit.Of("", req, nil)
	for i := range records {
		r.ReadRecord(&records[i])
	}
	r.Choose()
	for _, path := range s.logs {
		err := eachFile(nil, path, func(name string, in io.Reader) error { return r.ReadCalls(name, &untilEnd{ctx, in}) })
		switch {
		case ctx.Err() != nil:
			return nil, &exitError{exitFailed, fmt.Sprintf("the audit log could not be read within %s; kubectl lapse report reads it, however long it is", visitTimeout)}
		case err != nil:
			return nil, &exitError{exitFailed, "the audit log: " + err.Error()}
		}
	}
	return r, nil
}

// untilEnd reads until a context ends.
type untilEnd struct {
	ctx context.Context
	in  io.Reader
}

func (u *untilEnd) Read(b []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.in.Read(b)
}

func callsOf(c class) ui.Part {
	title := ui.El("h2", ui.Text(fmt.Sprintf("%s%s: %d", strings.ToUpper(c.title[:1]), c.title[1:], len(c.calls))))
	if len(c.calls) == 0 {
		return title
	}
	lines := make([]ui.Part, 0, maxCalls)
	for _, call := range c.calls[:min(len(c.calls), maxCalls)] {
		lines = append(lines, ui.El("li", ui.Said(callLine(call))))
	}
	more := ui.If(len(c.calls) > maxCalls, ui.El("p", ui.Text(fmt.Sprintf("And %d more: kubectl lapse report lists them all.", len(c.calls)-maxCalls))))
	return ui.All(title, ui.El("ul", lines...), more)
}
