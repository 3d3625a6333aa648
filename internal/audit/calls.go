// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"cmp"
	"slices"
	"time"
)

// take an event.
func (r *Reporter) take(e *event) {
	if !slices.Contains([]string{stageStarted, stageComplete, stagePanic}, e.Stage) {
		return
	}
	granted := r.byBinding[e.binding()]
	if granted != nil && r.tells(granted, e, anybody) {
		r.add(granted, &granted.Calls, e)
	}
	// Whom one grant allowed a call may hold another one, too.
	for _, s := range r.byNamespace[e.namespace()] {
		isHolder := func(c *caller) bool { return holds(s.Request.Subject, c) }
		switch {
		case s == granted, !s.held(e.Began), !e.by(isHolder), !r.tells(s, e, isHolder):
		case e.refused():
			r.add(s, &s.Refused, e)
		default:
			r.add(s, &s.Others, e).AllowedByGrant = r.grants[e.binding()]
		}
	}
}

func anybody(*caller) bool { return true }

// tells says whether to tell a call, if the question is about a person and access was a group's:
// like says of whom it takes a call to show that the access concerns them. Where nothing else
// concerns the person, calls of others are not told.
func (r *Reporter) tells(s *History, e *event, like func(*caller) bool) bool {
	if r.question.Person == "" || !isGroup(s.Request.Subject) {
		return true
	}
	theirs := e.by(func(c *caller) bool { return c.Username == r.question.Person && like(c) })
	s.called = s.called || theirs
	return theirs || len(s.named) > 0
}

// callID tells calls apart. Stages of one share all of it. auditID alone is not enough: whoever
// calls may choose it.
type callID struct {
	auditID, verb, uri string
	began              time.Time
}

// add a call once, whatever its stages and however often it is in the logs.
func (r *Reporter) add(s *History, to *[]*Call, e *event) *Call {
	calls := r.calls[s]
	if calls == nil {
		calls = map[callID]*Call{}
		r.calls[s] = calls
	}
	id := callID{e.AuditID, e.Verb, e.URI, e.Began}
	call := calls[id]
	if call == nil {
		call = &Call{
			At: e.Began, User: e.who().Username, Verb: e.Verb, Resource: e.resource(), Namespace: e.namespace(), From: e.From, Agent: e.Agent,
			AllowedBy: e.Annotations[reasonAnnotation], AuditID: e.AuditID, Session: e.session(), Impersonator: e.impersonator(),
		}
		if e.Object != nil {
			call.Name = e.Object.Name
		}
		calls[id] = call
		*to = append(*to, call)
	}
	call.Code = cmp.Or(e.code(), call.Code)
	if e.lasts() && e.Stage != stageStarted {
		ended := e.Ended
		call.Until, call.Outlived = &ended, ended.After(s.Grant.end())
	}
	return call
}
