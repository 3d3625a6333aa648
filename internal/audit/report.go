// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Question is what a report is to tell. What is left out is not asked for.
type Question struct {
	// Request is its name, or its UID.
	Request string
	// Person asked, got the access, or gave his word.
	Person string
	// Role is the name of it.
	Role      string
	Namespace string
	// From and Until bound when access was held, or asked for where none was given.
	From, Until time.Time
}

// Reporter reads records, and then calls.
type Reporter struct {
	question Question
	stories  map[types.UID]*Story
	// byBinding has stories by "namespace/name" of their binding, byNamespace by their namespace.
	byBinding   map[string]*Story
	byNamespace map[string][]*Story
	acts        map[*Story]map[callID]*Act
	needles     [][]byte
	all         bool
}

// NewReporter answers one question.
func NewReporter(q Question) *Reporter {
	return &Reporter{question: q, stories: map[types.UID]*Story{}, acts: map[*Story]map[callID]*Act{}}
}

// ReadRecords takes what there is to know of requests. Lines that are no records are passed
// over.
func (r *Reporter) ReadRecords(file string, in io.Reader) error {
	return eachLine(file, in, func(_ int, line []byte) {
		var record Record
		if json.Unmarshal(line, &record) == nil && record.SpecVersion != "" && record.Data.Request != nil {
			r.record(&record)
		}
	})
}

// record adds what one says. The same may be told twice, files come in any order, and what
// happened later knows more.
func (r *Reporter) record(record *Record) {
	asked := record.Data.Request
	s := r.stories[asked.UID]
	if s == nil {
		s = &Story{}
		r.stories[asked.UID] = s
	}
	if s.asOf == nil || !inOrder(record, s.asOf) {
		s.Request, s.asOf = asked, record
	}
	if d := record.Data.Decision; d != nil && !slices.ContainsFunc(s.Decisions, func(t Told) bool { return t.UID == d.UID }) {
		s.Decisions = append(s.Decisions, Told{record.Time, *d})
	}
	if record.Type == Forgotten {
		s.Forgotten = &record.Time
	}
	if g := record.Data.Grant; g != nil {
		s.Grant = merged(s.Grant, g)
	}
}

// Choose keeps what the question is about. It comes after all records and before all calls.
func (r *Reporter) Choose() {
	r.byBinding, r.byNamespace = map[string]*Story{}, map[string][]*Story{}
	for uid, s := range r.stories {
		if !r.question.concerns(s) {
			delete(r.stories, uid)
			continue
		}
		if s.Grant == nil {
			continue
		}
		r.byBinding[s.Request.Namespace+"/"+s.Grant.Binding] = s
		r.byNamespace[s.Request.Namespace] = append(r.byNamespace[s.Request.Namespace], s)
		r.look(s.Grant.Binding)
		r.look(holder(s.Request.Subject))
	}
}

// look has Concerns look for a name.
func (r *Reporter) look(name string) {
	plain := strings.IndexFunc(name, func(c rune) bool { return c < ' ' || c > '~' || strings.ContainsRune(`"\<>&`, c) }) < 0
	if name == "" || !plain { // it may be written in several ways
		r.all = true
		return
	}
	if needle := []byte(name); !slices.ContainsFunc(r.needles, func(n []byte) bool { return bytes.Equal(n, needle) }) {
		r.needles = append(r.needles, needle)
	}
}

// manyNeedles is from how many names on all calls are read: to look for each takes longer.
const manyNeedles = 16

// Concerns says whether a line of an audit log may concern the report.
func (r *Reporter) Concerns(line []byte) bool {
	if r.all || len(r.needles) > manyNeedles {
		return true
	}
	return slices.ContainsFunc(r.needles, func(n []byte) bool { return bytes.Contains(line, n) })
}

func (q Question) concerns(s *Story) bool {
	from, until := s.Request.AskedAt, s.Request.AskedAt
	if s.Grant != nil {
		from, until = s.Grant.GrantedAt, s.Grant.end()
	}
	switch {
	case q.Request != "" && q.Request != s.Request.Name && q.Request != string(s.Request.UID),
		q.Namespace != "" && q.Namespace != s.Request.Namespace,
		q.Role != "" && q.Role != s.Request.RoleRef.Name,
		!q.From.IsZero() && until.Before(q.From), !q.Until.IsZero() && from.After(q.Until):
		return false
	}
	return q.Person == "" || slices.Contains(people(s), q.Person)
}

// Take a call.
func (r *Reporter) Take(c *Call) {
	if !slices.Contains([]string{stageStarted, stageComplete, stagePanic}, c.Stage) {
		return
	}
	if s := r.byBinding[c.Binding()]; s != nil {
		r.add(s, &s.Calls, c)
		return
	}
	for _, s := range r.byNamespace[c.Namespace()] {
		held := !c.Began.Before(s.Grant.GrantedAt) && c.Began.Before(s.Grant.end())
		switch {
		case !held || !holds(s.Request.Subject, c.Who()) && !holds(s.Request.Subject, &c.User):
		case c.Refused():
			r.add(s, &s.Refused, c)
		default:
			r.add(s, &s.Others, c)
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
func (r *Reporter) add(s *Story, to *[]*Act, c *Call) {
	acts := r.acts[s]
	if acts == nil {
		acts = map[callID]*Act{}
		r.acts[s] = acts
	}
	id := callID{c.AuditID, c.Verb, c.URI, c.Began}
	act := acts[id]
	if act == nil {
		act = &Act{
			At: c.Began, User: c.Who().Username, Verb: c.Verb, Resource: c.Resource(), Namespace: c.Namespace(), From: c.From, Agent: c.Agent,
			AllowedBy: c.Annotations[reasonAnnotation], AuditID: c.AuditID, Session: c.Session(), Impersonator: c.Impersonator(),
		}
		if c.Object != nil {
			act.Name = c.Object.Name
		}
		acts[id] = act
		*to = append(*to, act)
	}
	act.Code = cmp.Or(c.Code(), act.Code)
	if c.Lasts() && c.Stage != stageStarted {
		ended := c.Ended
		act.Until, act.Outlived = &ended, ended.After(s.Grant.end())
	}
}

// Stories that were asked for, in the order in which access was given, or asked for.
func (r *Reporter) Stories() []*Story {
	out := make([]*Story, 0, len(r.stories))
	for _, s := range r.stories {
		for _, acts := range [][]*Act{s.Calls, s.Others, s.Refused} {
			slices.SortFunc(acts, func(a, b *Act) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.AuditID, b.AuditID)) })
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *Story) int {
		return cmp.Or(a.began().Compare(b.began()), cmp.Compare(a.Request.UID, b.Request.UID))
	})
	return out
}
