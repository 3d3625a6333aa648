// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
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
	// Person asked, got the access, decided, or called under access of a group. If they did
	// nothing but call, calls of others are left out.
	Person string
	// Role is the name of it.
	Role string
	// Policy is the name of the one that allowed access, or would have.
	Policy    string
	Namespace string
	// From and Until bound when access was held, or asked for where none was given.
	From, Until time.Time
}

// Reporter reads records, and then calls.
type Reporter struct {
	question  Question
	histories map[types.UID]*History
	// grants has each request of the records, as "namespace/name", by its binding; byBinding
	// has the histories that are told, byNamespace has them by their namespace.
	grants      map[string]string
	byBinding   map[string]*History
	byNamespace map[string][]*History
	calls       map[*History]map[callID]*Call
	names       map[string]bool // of holders and bindings
	all         bool
	// Withheld are records that do not say of which access they are, Missed the requests of
	// which not all records are there.
	Withheld, Missed int64
	unread           int
	// log is nil unless all of it is of interest.
	log *surveyed
}

// NewReporter answers one question.
func NewReporter(q Question) *Reporter {
	return &Reporter{question: q, histories: map[types.UID]*History{}, calls: map[*History]map[callID]*Call{}}
}

// ReadRecords takes what there is to know of requests. Lines that are no records are passed
// over.
func (r *Reporter) ReadRecords(file string, in io.Reader) error {
	return eachLine(file, in, func(_ int, line []byte) {
		var record Record
		switch {
		case json.Unmarshal(line, &record) != nil || record.SpecVersion == "":
		case record.Data.Request != nil:
			r.ReadRecord(&record)
		case record.Data.Withheld != "":
			r.Withheld++
		default:
			r.Missed += record.Data.Missed
		}
	})
}

// ReadRecord adds what one says of a request, which it has to name. The same may be told twice,
// files come in any order, and what happened later knows more.
func (r *Reporter) ReadRecord(record *Record) {
	asked := record.Data.Request
	s := r.histories[asked.UID]
	if s == nil {
		s = &History{}
		r.histories[asked.UID] = s
	}
	if s.asOf == nil || !inOrder(record, s.asOf) {
		s.Request, s.asOf = asked, record
	}
	if d := record.Data.Decision; d != nil && !slices.ContainsFunc(s.Decisions, func(t DatedDecision) bool { return t.UID == d.UID }) {
		s.Decisions = append(s.Decisions, DatedDecision{record.Time, *d})
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
	r.grants, r.byBinding, r.byNamespace, r.names = map[string]string{}, map[string]*History{}, map[string][]*History{}, map[string]bool{}
	for uid, s := range r.histories {
		if s.Grant != nil {
			r.grants[s.binding()] = s.Request.Namespace + "/" + s.Request.Name
		}
		s.named = r.question.relations(s)
		if !r.question.fits(s) || !r.question.mayConcern(s) {
			delete(r.histories, uid)
			continue
		}
		if s.Grant == nil {
			continue
		}
		r.byBinding[s.binding()] = s
		r.byNamespace[s.Request.Namespace] = append(r.byNamespace[s.Request.Namespace], s)
		r.look(s.Grant.Binding)
		r.look(holder(s.Request.Subject))
	}
}

// look has mayConcern look for a name. What follows the last slash is enough to find it by: a
// slash may be written in two ways.
func (r *Reporter) look(name string) {
	name = name[strings.LastIndexByte(name, '/')+1:]
	plain := strings.IndexFunc(name, func(c rune) bool { return c < ' ' || c > '~' || strings.ContainsRune(`"\<>&`, c) }) < 0
	if name == "" || !plain { // it may be written in several ways
		r.all = true
		return
	}
	r.names[name] = true
}

// mayConcern says whether a line of an audit log may concern the report: whether one of the names
// stands in it between what a name in JSON, or in a text in JSON, stands between.
func (r *Reporter) mayConcern(line []byte) bool {
	if r.all {
		return true
	}
	begin := 0
	for i, c := range line {
		if c != '"' && c != '\\' && c != '/' {
			continue
		}
		if r.names[string(line[begin:i])] || c == '\\' && isEscaped(line[i+1:]) {
			return true
		}
		begin = i + 1
	}
	return false
}

// isEscaped says whether what follows a backslash is a character that kube-apiserver would not
// write so. Of whoever wrote that, nothing is known of how names look.
func isEscaped(rest []byte) bool {
	if len(rest) < 5 || rest[0] != 'u' {
		return false
	}
	switch strings.ToLower(string(rest[1:5])) {
	case "0026", "003c", "003e": // & < >
		return false
	}
	return true
}

// fits says whether a request is what the question is about, whoever is concerned.
func (q Question) fits(s *History) bool {
	from, until := s.Request.AskedAt, s.Request.AskedAt
	if s.Grant != nil {
		from, until = s.Grant.GrantedAt, s.Grant.end()
	}
	switch {
	case q.Request != "" && q.Request != s.Request.Name && q.Request != string(s.Request.UID),
		q.Namespace != "" && q.Namespace != s.Request.Namespace,
		q.Role != "" && q.Role != s.Request.RoleRef.Name,
		q.Policy != "" && (s.Request.Policy == nil || q.Policy != s.Request.Policy.Name),
		!q.From.IsZero() && until.Before(q.From), !q.Until.IsZero() && from.After(q.Until):
		return false
	}
	return true
}

// mayConcern says whether a request concerns the person, or may turn out to: who is in a group
// shows in calls alone.
func (q Question) mayConcern(s *History) bool {
	return q.Person == "" || len(s.named) > 0 || s.Grant != nil && isGroup(s.Request.Subject)
}

// relations of the person to a request, as far as it and its decisions say.
func (q Question) relations(s *History) (out []Relation) {
	if q.Person == "" {
		return nil
	}
	if holder(s.Request.Subject) == q.Person {
		out = append(out, Grantee)
	}
	if who := s.Request.Requester; who != nil && who.Username == q.Person {
		out = append(out, Requester)
	}
	if slices.ContainsFunc(s.Decisions, func(d DatedDecision) bool { return d.Reviewer != nil && d.Reviewer.Username == q.Person }) {
		out = append(out, Reviewer)
	}
	return out
}

// ReadCalls takes an audit log of kube-apiserver, or of a cloud. It comes after Choose.
func (r *Reporter) ReadCalls(file string, in io.Reader) error {
	concerns, take := r.mayConcern, r.take
	if r.log != nil {
		concerns = func([]byte) bool { return true }
		take = func(e *event) {
			r.log.see(e)
			r.take(e)
		}
	}
	others, err := eachEvent(file, in, concerns, take)
	r.unread += others
	return err
}

// Unread is how many lines of audit logs may concern the report and were not understood.
func (r *Reporter) Unread() int { return r.unread }

// Histories that were asked for, in the order in which access was given, or asked for.
func (r *Reporter) Histories() []*History {
	out := make([]*History, 0, len(r.histories))
	for _, s := range r.histories {
		if !r.identify(s) {
			continue
		}
		for _, calls := range [][]*Call{s.Calls, s.Others, s.Refused} {
			slices.SortFunc(calls, func(a, b *Call) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.AuditID, b.AuditID)) })
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *History) int {
		return cmp.Or(a.began().Compare(b.began()), cmp.Compare(a.Request.UID, b.Request.UID))
	})
	return out
}

// identify says how the person of the question is concerned; false if not at all.
func (r *Reporter) identify(s *History) bool {
	if r.question.Person == "" {
		return true
	}
	is := s.named
	if s.called {
		is = append([]Relation{Caller}, is...)
	}
	s.Person = &Person{r.question.Person, is}
	return len(is) > 0
}
