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

// printStories writes them for people.
func printStories(out io.Writer, stories []*audit.Story) error {
	var b strings.Builder
	if len(stories) == 0 {
		b.WriteString("no request is like that, as far as the records go\n")
	}
	width := newScreen(out).width()
	for i, s := range stories {
		if i > 0 {
			b.WriteString("\n")
		}
		printStory(&b, s, width)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// printStory writes one, to a number of columns; 0 is any number. What people wrote stands
// behind our words, or further in than they do.
func printStory(b *strings.Builder, s *audit.Story, width int) {
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
		if len(class.acts) > 0 {
			fmt.Fprintf(b, "  %s: %d\n", class.title, len(class.acts))
		}
		for _, act := range class.acts {
			paragraph(b, 4, "", text.Line(actText(act)), width)
		}
	}
}

// fact is what there is to know of a request besides its headline.
type fact struct{ name, value string }

func factsOf(s *audit.Story) []fact {
	facts := []fact{{"asked", fmt.Sprintf("%s by %s: %q", text.Time(s.Request.AskedAt), requesterName(s), s.Request.Reason)}}
	add := func(name, value string) { facts = append(facts, fact{name, value}) }
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

// headline says who had what, when.
func headline(s *audit.Story) string {
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
	if g.EndedBy != "" {
		what += " by " + g.EndedBy
	}
	return what
}

// decisionText is who said it and when. Anybody may approve; the request says whose word
// counted.
func decisionText(s *audit.Story, d *audit.Told) string {
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

func requesterName(s *audit.Story) string {
	if s.Request.Requester == nil {
		return "somebody"
	}
	return s.Request.Requester.Username
}

func reviewerName(d *audit.Told) string {
	if d.Reviewer == nil {
		return "somebody"
	}
	return d.Reviewer.Username
}

// class is one of the kinds of calls, which are never mixed.
type class struct {
	name, title string
	acts        []*audit.Act
}

func classesOf(s *audit.Story) []class {
	return []class{
		{"granted", "calls that it allowed", s.Calls},
		{"other", "calls of its holder that something else allowed", s.Others},
		{"refused", "calls of its holder that were refused", s.Refused},
	}
}

func actText(a *audit.Act) string {
	out := text.Time(a.At) + " " + callerText(a) + " " + callText(a)
	if code := codeText(a); code != "" {
		out += " (" + code + ")"
	}
	if len(a.From) > 0 {
		out += " from " + strings.Join(a.From, ", ")
	}
	if a.Outlived {
		out += ", WHICH WENT ON AFTER THE ACCESS HAD ENDED"
	}
	return out
}

func callerText(a *audit.Act) string {
	if a.Impersonator == "" {
		return a.User
	}
	return a.User + " (impersonated by " + a.Impersonator + ")"
}

// callText is what was called, and for how long if it was a session.
func callText(a *audit.Act) string {
	out := a.Verb + " " + a.Resource
	if a.Name != "" {
		out += " " + a.Name
	}
	switch {
	case a.Session && a.Until == nil:
		return out + ", a session whose end is not in the log"
	case a.Session, a.Outlived:
		return out + ", which lasted " + text.Duration(a.Until.Sub(a.At))
	}
	return out
}

// codeText is empty if the answer is not known.
func codeText(a *audit.Act) string {
	if a.Code == 0 {
		return ""
	}
	return strconv.Itoa(a.Code)
}

// csvHeader names the columns: one line for each call, and one for each request without any.
var csvHeader = []string{
	"namespace", "request", "uid", "requester", "subject", "role", "reason", "policy", "approvedBy", "grantedAt", "endedAt", "endReason", "endedBy",
	"class", "time", "user", "impersonator", "verb", "resource", "name", "code", "source", "userAgent", "sessionUntil", "outlived", "auditID",
}

func printCSV(out io.Writer, stories []*audit.Story) error {
	w := csv.NewWriter(out)
	write := func(fields []string) error {
		for i := range fields {
			fields[i] = inert(fields[i])
		}
		return w.Write(fields)
	}
	err := w.Write(csvHeader)
	for _, s := range stories {
		story, alone := storyFields(s), true
		for _, class := range classesOf(s) {
			for _, act := range class.acts {
				alone = false
				if err == nil {
					err = write(append(slices.Clip(story), actFields(class.name, act)...))
				}
			}
		}
		if alone && err == nil {
			err = write(append(story, make([]string, len(csvHeader)-len(story))...))
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

func storyFields(s *audit.Story) []string {
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

func actFields(class string, a *audit.Act) []string {
	return []string{
		class, timeField(&a.At), a.User, a.Impersonator, a.Verb, a.Resource, a.Name, codeText(a), strings.Join(a.From, ", "), a.Agent, timeField(a.Until),
		strconv.FormatBool(a.Outlived), a.AuditID,
	}
}

func timeField(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return text.Time(*t)
}
