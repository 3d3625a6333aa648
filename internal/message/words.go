// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package message

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/audit"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/text"
)

// message of an event with what is said of each request. The title names the namespace.
func (a *about) message(e Event, what string, at time.Time, title string) Message {
	asked := a.data.Request
	m := Message{
		ID: string(asked.UID) + "/" + what, Source: a.Source, Event: e, At: at.UTC(), Timed: e.timed(), Namespace: asked.Namespace, Name: asked.Name,
		Title: fmt.Sprintf(title, namespaceOf(asked)), Command: command("why", asked.Namespace, asked.Name), Link: link(a.Base, asked.Namespace, asked.Name),
	}
	if asked.Policy != nil {
		m.Policy = asked.Policy.Name
	}
	m.Data = Data{Event: e, Title: m.Title, Request: asked, Grant: a.data.Grant, Command: m.Command, Link: m.Link}
	m.add("Request", asked.Namespace+"/"+asked.Name)
	if asked.Requester != nil {
		m.add("Who", asked.Requester.Username)
	}
	if s := asked.Subject; s != nil && (asked.Requester == nil || policy.Account(*s) != asked.Requester.Username) {
		m.add("For", s.Kind+" "+policy.Account(*s))
	}
	m.add("What", asked.RoleRef.Kind+" "+asked.RoleRef.Name)
	m.add("How long", a.howLong())
	m.quote("Why", asked.Reason)
	m.add("Policy", m.Policy)
	return m
}

// namespaceOf a request for a title; Kubernetes has no other names.
func namespaceOf(asked *audit.Request) string {
	if named(asked.Namespace, "name") {
		return asked.Namespace
	}
	return "a namespace"
}

func (a *about) howLong() string {
	said := time.Duration(a.data.Request.Duration) * time.Second
	if p := a.Policy; said == 0 && p != nil {
		if said = p.Spec.MaxDuration.Duration; p.Spec.DefaultDuration != nil {
			said = p.Spec.DefaultDuration.Duration
		}
	}
	var parts []string
	if said > 0 {
		parts = append(parts, text.Duration(said))
	}
	if from := a.data.Request.NotBefore; from != nil {
		parts = append(parts, "not before "+stamp(*from))
	}
	if to := a.data.Request.NotAfter; to != nil {
		parts = append(parts, "not after "+stamp(*to))
	}
	return strings.Join(parts, ", ")
}

// stamp is a moment, as people of all time zones read it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// waiting is what approvers have to know.
func (a *about) waiting(e Event, what string, at time.Time) Message {
	title := "A request in %s waits for approval"
	if e == StillWaiting {
		title = "A request in %s still waits for approval; half of its time is gone"
	}
	m := a.message(e, what, at, title)
	a.call(&m)
	return m
}

// call for approval, with what approvers have to know.
func (a *about) call(m *Message) {
	m.Until, m.Data.Until, m.Data.Risks, m.Data.WaitsFor = a.until.UTC(), &a.until, a.risks(), a.tally.Text()
	for _, risk := range m.Data.Risks {
		m.add("Risk", risk)
	}
	m.add("Approval", m.Data.WaitsFor)
	m.add("Until", stamp(a.until))
	m.Command = command("approve", m.Namespace, m.Name)
	m.Data.Command = m.Command
}

// risks of the role that is asked for, and of the policy: not those of other roles in it.
func (a *about) risks() (out []string) {
	if a.Policy == nil {
		return nil
	}
	role := a.data.Request.RoleRef.Name
	for _, risk := range a.Policy.Status.Risks {
		other := slices.ContainsFunc(a.Policy.Spec.Roles, func(r v1alpha1.RoleRef) bool {
			return r.Name != role && strings.HasPrefix(risk, r.Name+": ")
		})
		if !other {
			out = append(out, risk)
		}
	}
	if len(out) > maxRisks {
		out = append(out[:maxRisks-1], fmt.Sprintf("and %d more", len(out)-maxRisks+1))
	}
	return out
}

// happened is what is told of a record; nothing of some.
func (a *about) happened(r *audit.Record) []Message {
	switch r.Type {
	case audit.Approved, audit.Denied, audit.Revoked:
		if a.counts(r) {
			return []Message{a.decided(r)}
		}
	case audit.Granted:
		if !a.Alerts {
			return []Message{a.granted("granted", r.Time)}
		}
	case audit.Refused:
		m := a.message(Refused, "refused", r.Time, "A request in %s was refused")
		m.quote("Because", r.Data.Request.Outcome+": "+r.Data.Request.Message)
		return []Message{m}
	case audit.Ended:
		return a.ended(r)
	case audit.Asked, audit.RoleChanged, audit.Forgotten, audit.GapBegan, audit.GapEnded, audit.WriterMissed, audit.WriterBegan, audit.WriterEnded:
	}
	return nil
}

// counts says whether a decision changes something: anybody who may create one could have
// people told of it.
func (a *about) counts(r *audit.Record) bool {
	d, end := r.Data.Decision, a.over()
	if d.Reviewer == nil || !end.IsZero() && r.Time.After(end) {
		return false
	}
	if d.Verdict == v1alpha1.VerdictApprove {
		by := func(c v1alpha1.Approval) bool { return c.Decision == d.Name }
		return slices.ContainsFunc(a.status.Approvals, by) || slices.ContainsFunc(a.tally.Counted, by)
	}
	ended := a.status.Grant != nil && a.status.Grant.EndedBy == d.Reviewer.Username
	return ended || policy.Involved(a.Request, d.Reviewer) || a.Policy != nil && policy.MayEnd(&a.Policy.Spec, d.Reviewer)
}

func (a *about) decided(r *audit.Record) Message {
	said := map[v1alpha1.Verdict]string{
		v1alpha1.VerdictApprove: "approved",
		v1alpha1.VerdictDeny:    "denied",
		v1alpha1.VerdictRevoke:  "revoked",
	}[r.Data.Decision.Verdict]
	m := a.message(Decided, "decided", r.Time, "Somebody "+said+" a request in %s")
	m.ID, m.Data.Decision = r.ID, r.Data.Decision
	m.add("Decision", said+" by "+r.Data.Decision.Reviewer.Username)
	m.quote("Comment", r.Data.Decision.Comment)
	if a.pending() {
		a.call(&m)
	}
	return m
}

func (a *about) granted(what string, at time.Time) Message {
	g := a.status.Grant
	m := a.message(Granted, what, at, "Access was granted in %s")
	m.Until = g.ExpiresAt.UTC()
	m.add("From", stamp(g.GrantedAt.Time))
	m.add("Until", stamp(g.ExpiresAt.Time))
	return m
}

func (a *about) ended(r *audit.Record) []Message {
	g := r.Data.Grant
	if a.Alerts {
		m := a.message(Granted, "held/over", r.Time, "Access in %s is over")
		m.Over, m.Until = true, r.Time
		return []Message{m}
	}
	e, title := EndedEarly, "Access in %s ended early"
	switch g.EndReason {
	case v1alpha1.ReasonExpired:
		return nil
	case v1alpha1.ReasonTampered:
		e, title = Tampered, "Somebody tampered with a grant in %s, and access ended"
	}
	m := a.message(e, "ended", r.Time, title)
	m.Data.Grant = g
	m.add("Ended at", stamp(r.Time))
	m.add("Because", g.EndReason)
	m.add("By", g.EndedBy)
	return []Message{m}
}
