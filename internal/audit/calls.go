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
	if granted != nil {
		r.add(granted, &granted.Calls, e)
	}
	// Whom one grant allowed a call may hold another one, too.
	for _, s := range r.byNamespace[e.namespace()] {
		switch {
		case s == granted, !s.held(e.Began), !e.by(func(c *caller) bool { return holds(s.Request.Subject, c) }):
		case e.refused():
			r.add(s, &s.Refused, e)
		default:
			r.add(s, &s.Others, e).AllowedByGrant = r.grants[e.binding()]
		}
	}
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
