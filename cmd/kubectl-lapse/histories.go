// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/audit"
	"github.com/lapse-dev/lapse/internal/text"
)

// printHistories writes them for people.
func printHistories(out io.Writer, histories []*audit.History) error {
	var b strings.Builder
	if len(histories) == 0 {
		b.WriteString("no request is like that, as far as the records go\n")
	}
	width := newScreen(out).width()
	for i, s := range histories {
		if i > 0 {
			b.WriteString("\n")
		}
		printHistory(&b, s, width)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// printHistory writes one, to a number of columns; 0 is any number. What people wrote stands
// behind our words, or further in than they do.
func printHistory(b *strings.Builder, s *audit.History, width int) {
	const behind = 2 + margin
	for i, piece := range wrap(text.Line(headline(s)), width-behind) {
		if i > 0 {
			piece = strings.Repeat(" ", behind) + piece
		}
		b.WriteString(piece + "\n")
	}
	for _, f := range factsOf(s) {
		paragraph(b, behind, "  "+f.name, text.Line(f.value), width)
	}
	for _, class := range classesOf(s) {
		if len(class.calls) > 0 {
			fmt.Fprintf(b, "  %s: %d\n", class.title, len(class.calls))
		}
		for _, call := range class.calls {
			paragraph(b, 4, "", text.Line(callLine(call)), width)
		}
	}
}

// fact is what there is to know of a request besides its headline.
type fact struct{ name, value string }

func factsOf(s *audit.History) []fact {
	facts := []fact{{"asked", fmt.Sprintf("%s by %s: %q", text.Time(s.Request.AskedAt), requesterName(s), s.Request.Reason)}}
	add := func(name, value string) { facts = append(facts, fact{name, value}) }
	if s.Person != nil {
		add("concerns", personText(s))
	}
	for i := range s.Decisions {
		d := &s.Decisions[i]
		add(strings.ToLower(string(d.Verdict)), decisionText(s, d))
	}
	if p := s.Request.Policy; p != nil {
		add("policy", fmt.Sprintf("%s, generation %d", p.Name, p.Generation))
	}
	if s.Forgotten != nil {
		add("deleted", text.Time(*s.Forgotten))
	}
	if s.Grant == nil {
		add("outcome", s.Request.Outcome+": "+s.Request.Message)
		return facts
	}
	add("binding", s.Grant.Binding)
	if s.Grant.RoleChange != "" {
		add("role", s.Grant.RoleChange)
	}
	return facts
}

// personText says how the person of the question is concerned.
func personText(s *audit.History) string {
	is := make([]string, 0, len(s.Person.Is))
	for _, relation := range s.Person.Is {
		is = append(is, string(relation))
	}
	out := s.Person.Name + ": " + strings.Join(is, ", ")
	if slices.Equal(s.Person.Is, []audit.Relation{audit.Caller}) {
		out += " under access of " + subjectText(s.Request.Subject) + "; calls of others are not told"
	}
	return out
}

// headline says who had what, when.
func headline(s *audit.History) string {
	what := fmt.Sprintf("%s/%s: %s", s.Request.Namespace, s.Request.Name, s.Request.RoleRef.Kind+" "+s.Request.RoleRef.Name)
	g := s.Grant
	if g == nil {
		return what + " was not given"
	}
	what += " for " + subjectText(s.Request.Subject) + " from " + text.Time(g.GrantedAt)
	if g.EndedAt == nil {
		return what + ", until " + text.Time(g.ExpiresAt) + " as it was promised; its end is not in the records"
	}
	what += fmt.Sprintf(" to %s (%s), %s", text.Time(*g.EndedAt), text.Duration(g.EndedAt.Sub(g.GrantedAt)), g.EndReason)
	switch {
	case g.EndedBy != "":
		what += " by " + g.EndedBy
	case slices.Contains([]string{v1alpha1.ReasonRevoked, v1alpha1.ReasonTampered, v1alpha1.ReasonRequestDeleted}, g.EndReason):
		what += "; by whom, only the audit log of kube-apiserver says" // such as a RoleBinding that was deleted by hand
	}
	return what
}

// decisionText is who said it and when. Anybody may approve; the request says whose word
// counted.
func decisionText(s *audit.History, d *audit.DatedDecision) string {
	out := text.Time(d.At) + " by " + reviewerName(d)
	if d.Comment != "" {
		out += fmt.Sprintf(": %q", d.Comment)
	}
	counted := slices.ContainsFunc(s.Request.Approvals, func(a v1alpha1.Approval) bool { return a.Decision == d.Name })
	if d.Verdict == v1alpha1.VerdictApprove && !counted {
		out += " (did not count)"
	}
	return out
}

func requesterName(s *audit.History) string {
	if s.Request.Requester == nil {
		return "somebody"
	}
	return s.Request.Requester.Username
}

func reviewerName(d *audit.DatedDecision) string {
	if d.Reviewer == nil {
		return "somebody"
	}
	return d.Reviewer.Username
}

// class is one of the kinds of calls, which are never mixed.
type class struct {
	name, title string
	calls       []*audit.Call
}

func classesOf(s *audit.History) []class {
	return []class{
		{"granted", "calls that it allowed", s.Calls},
		{"other", "calls of its holder that something else allowed", s.Others},
		{"refused", "calls of its holder that were refused", s.Refused},
	}
}

func callLine(c *audit.Call) string {
	out := text.Time(c.At) + " " + callerText(c) + " " + callText(c)
	if code := codeText(c); code != "" {
		out += " (" + code + ")"
	}
	if len(c.From) > 0 {
		out += " from " + strings.Join(c.From, ", ")
	}
	out += besideText(c)
	if c.Outlived {
		out += ", WHICH WENT ON AFTER THE ACCESS HAD ENDED"
	}
	return out
}

func callerText(c *audit.Call) string {
	if c.Impersonator == "" {
		return c.User
	}
	return c.User + " (impersonated by " + c.Impersonator + ")"
}

// callText is what was called, and for how long if it was a session.
func callText(c *audit.Call) string {
	out := c.Verb + " " + c.Resource
	if c.Name != "" {
		out += " " + c.Name
	}
	switch {
	case c.Session && c.Until == nil:
		return out + ", a session whose end is not in the log"
	case c.Session, c.Outlived:
		return out + ", which lasted " + text.Duration(c.Until.Sub(c.At))
	}
	return out
}

// besideText names another grant that allowed the call; empty if none did.
func besideText(c *audit.Call) string {
	if c.AllowedByGrant == "" {
		return ""
	}
	return ", allowed by the grant " + c.AllowedByGrant
}

// codeText is empty if the answer is not known.
func codeText(c *audit.Call) string {
	if c.Code == 0 {
		return ""
	}
	return strconv.Itoa(c.Code)
}

// csvHeader names the columns: one line for each call, and one for each request without any.
var csvHeader = []string{
	"namespace", "request", "uid", "requester", "subject", "role", "reason", "policy", "approvedBy", "grantedAt", "endedAt", "endReason", "endedBy",
	"class", "time", "user", "impersonator", "verb", "resource", "name", "code", "source", "userAgent", "sessionUntil", "outlived", "auditID",
	"allowedBy", "allowedByGrant",
}

func printCSV(out io.Writer, histories []*audit.History) error {
	w := csv.NewWriter(out)
	write := func(fields []string) error {
		for i := range fields {
			fields[i] = inert(fields[i])
		}
		return w.Write(fields)
	}
	err := w.Write(csvHeader)
	for _, s := range histories {
		history, alone := historyFields(s), true
		for _, class := range classesOf(s) {
			for _, call := range class.calls {
				alone = false
				if err == nil {
					err = write(append(slices.Clip(history), callFields(class.name, call)...))
				}
			}
		}
		if alone && err == nil {
			err = write(append(history, make([]string, len(csvHeader)-len(history))...))
		}
	}
	w.Flush()
	if err == nil {
		err = w.Error()
	}
	return err
}

// formula is where a spreadsheet may see one: at the beginning of a field and, where the
// semicolon separates fields, behind that. Quotes and spaces are passed over, and wide signs
// are taken for narrow ones, by some.
var formula = regexp.MustCompile(`(^|;)([\s"]*[=+\-@＝＋－＠])`)

// inert keeps a spreadsheet from taking a field for a formula, and control characters out. See
// OWASP, CSV Injection.
func inert(field string) string {
	return formula.ReplaceAllString(text.Line(field), "$1'$2")
}

func historyFields(s *audit.History) []string {
	approvedBy := make([]string, 0, len(s.Request.Approvals))
	for _, a := range s.Request.Approvals {
		approvedBy = append(approvedBy, a.Reviewer)
	}
	policy, g := "", &audit.Grant{}
	if s.Request.Policy != nil {
		policy = s.Request.Policy.Name
	}
	if s.Grant != nil {
		g = s.Grant
	}
	return []string{
		s.Request.Namespace, s.Request.Name, string(s.Request.UID), requesterName(s), subjectText(s.Request.Subject), s.Request.RoleRef.Kind + " " + s.Request.RoleRef.Name,
		s.Request.Reason, policy, strings.Join(approvedBy, ", "), timeField(&g.GrantedAt), timeField(g.EndedAt), g.EndReason, g.EndedBy,
	}
}

func callFields(class string, c *audit.Call) []string {
	return []string{
		class, timeField(&c.At), c.User, c.Impersonator, c.Verb, c.Resource, c.Name, codeText(c), strings.Join(c.From, ", "), c.Agent, timeField(c.Until),
		strconv.FormatBool(c.Outlived), c.AuditID, c.AllowedBy, c.AllowedByGrant,
	}
}

func timeField(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return text.Time(*t)
}
