// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/liggitt/tabwriter"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/text"
)

// table is how requests are shown to people.
type table struct {
	now           time.Time
	allNamespaces bool
	wide          bool
	// width is how many columns of characters there are; 0 is any number.
	width int
	// policies by name; one that could not be read is missing.
	policies map[string]*v1alpha1.AccessPolicy
}

// gap is between columns, in characters.
const gap = 2

// rowWriter aligns cells that tabs separate.
func rowWriter(w io.Writer) *tabwriter.Writer {
	return tabwriter.NewWriter(w, 0, 0, gap, ' ', tabwriter.RememberWidths)
}

func (t table) titles() []string {
	titles := []string{"NAME", "SUBJECT", "ROLE", "STATE", "ENDS", "VOTES", "AGE"}
	if t.allNamespaces {
		titles = append([]string{"NAMESPACE"}, titles...)
	}
	if t.wide {
		titles = append(titles, "BEGIN", "END", "APPROVED-BY", "REQUESTER", "POLICY", "BINDING", "WHY")
	}
	return titles
}

func (t table) cells(req *v1alpha1.AccessRequest) []string {
	cells := []string{
		cell(req.Name), cell(grantee(req)), cell(policy.RoleArgument(req.Spec.RoleRef)), cell(stateText(req)),
		cell(t.ends(req)), cell(t.votes(req)), duration.HumanDuration(t.now.Sub(req.CreationTimestamp.Time)),
	}
	if t.allNamespaces {
		cells = append([]string{cell(req.Namespace)}, cells...)
	}
	if t.wide {
		var requester, policy, binding string
		if r := req.Spec.Requester; r != nil {
			requester = r.Username
		}
		if r := req.Status.Policy; r != nil {
			policy = r.Name
		}
		if g := req.Status.Grant; g != nil {
			binding = g.Binding
		}
		begin, end := span(req)
		cells = append(cells, cell(begin), cell(end), cell(approvedBy(req)), cell(requester), cell(policy), cell(binding), cell(req.Spec.Reason))
	}
	return cells
}

// print writes the requests as a table.
func (t table) print(w io.Writer, requests []v1alpha1.AccessRequest) error {
	rows := make([][]string, 0, 1+len(requests))
	rows = append(rows, t.titles())
	for i := range requests {
		rows = append(rows, t.cells(&requests[i]))
	}
	if t.width > 0 && !t.wide {
		squeeze(rows, t.width)
	}
	out := rowWriter(w)
	for _, row := range rows {
		fmt.Fprintln(out, strings.Join(row, "\t"))
	}
	return out.Flush()
}

// yielding are the columns that become narrower where a line does not fit, in this order, and
// how narrow; the state is cut last. Names are never cut: people copy them.
var yielding = []struct {
	title string
	least int
}{{"SUBJECT", 10}, {"ROLE", 8}, {"STATE", 9}}

// squeeze cuts cells until the lines have no more than so many characters, if they can.
func squeeze(rows [][]string, width int) {
	over := -gap - width
	for i := range rows[0] {
		over += gap + widest(rows, i)
	}
	for _, column := range yielding {
		i := slices.Index(rows[0], column.title)
		was := widest(rows, i)
		now := max(was-max(over, 0), min(column.least, was))
		for _, row := range rows {
			row[i] = fit(row[i], now)
		}
		over -= was - now
	}
}

// widest is how many characters a column needs.
func widest(rows [][]string, i int) (width int) {
	for _, row := range rows {
		used := 0
		for _, r := range row[i] {
			used += columnsOf(r)
		}
		width = max(width, used)
	}
	return width
}

// span is when access begins and ends, or did.
func span(req *v1alpha1.AccessRequest) (begin, end string) {
	g := req.Status.Grant
	switch {
	case g == nil && req.Status.State == v1alpha1.StateScheduled && req.Spec.NotBefore != nil:
		return text.Time(req.Spec.NotBefore.Time), ""
	case g == nil:
		return "", ""
	case g.EndedAt != nil:
		return text.Time(g.GrantedAt.Time), text.Time(g.EndedAt.Time)
	default:
		return text.Time(g.GrantedAt.Time), text.Time(g.ExpiresAt.Time)
	}
}

// approvedBy is who let the access be given: people, or the policy alone.
func approvedBy(req *v1alpha1.AccessRequest) string {
	people := make([]string, 0, len(req.Status.Approvals))
	for _, a := range req.Status.Approvals {
		people = append(people, a.Reviewer)
	}
	if len(people) == 0 && (req.Status.Grant != nil || req.Status.State == v1alpha1.StateScheduled) {
		return "the policy"
	}
	return strings.Join(people, ", ")
}

// stateText is the state, and the reason where that says more.
func stateText(req *v1alpha1.AccessRequest) string {
	state := string(req.Status.State)
	if state == "" {
		return "New"
	}
	switch reason := reasonOf(req); reason {
	case "", state, v1alpha1.ReasonPendingApproval, v1alpha1.ReasonGranted:
		return state
	default:
		return state + " (" + reason + ")"
	}
}

// reasonOf is the reason of Ready.
func reasonOf(req *v1alpha1.AccessRequest) string {
	if c := meta.FindStatusCondition(req.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		return c.Reason
	}
	return ""
}

// messageOf is what Ready says to people.
func messageOf(req *v1alpha1.AccessRequest) string {
	if c := meta.FindStatusCondition(req.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		return c.Message
	}
	return ""
}

// ends is when access ends or ended, when it begins or, of what waits for approval, when that
// comes too late.
func (t table) ends(req *v1alpha1.AccessRequest) string {
	g := req.Status.Grant
	switch {
	case g != nil && g.EndedAt != nil:
		return duration.HumanDuration(max(t.now.Sub(g.EndedAt.Time), 0)) + " ago" // whatever the clocks say
	case req.Status.State == v1alpha1.StateActive:
		return t.deadline(g)
	case req.Status.State == v1alpha1.StateScheduled && req.Spec.NotBefore != nil:
		return "begins " + until(t.now, req.Spec.NotBefore.Time)
	case req.Status.State == v1alpha1.StatePending && t.policyOf(req) != nil:
		return until(t.now, givesUp(req, t.policyOf(req)))
	default:
		return ""
	}
}

// deadline is when access that is held ends.
func (t table) deadline(g *v1alpha1.Grant) string {
	switch {
	case g == nil:
		return ""
	case g.ExpiresAt.Time.Before(t.now):
		return duration.HumanDuration(t.now.Sub(g.ExpiresAt.Time)) + " overdue"
	default:
		return until(t.now, g.ExpiresAt.Time)
	}
}

// policyOf is nil where there is none, or it could not be read.
func (t table) policyOf(req *v1alpha1.AccessRequest) *v1alpha1.AccessPolicy {
	if req.Status.Policy == nil {
		return nil
	}
	return t.policies[req.Status.Policy.Name]
}

// votes are the approvals there are, and how many are needed; "1/?" when the policy could
// not be read.
func (t table) votes(req *v1alpha1.AccessRequest) string {
	got := len(req.Status.Approvals)
	if req.Status.Policy == nil {
		return ""
	}
	needed := 0
	if p := t.policyOf(req); p != nil {
		for _, rule := range p.Spec.Approvals {
			needed += int(rule.Count)
		}
	} else if awaited(req) {
		return strconv.Itoa(got) + "/?"
	}
	switch {
	case awaited(req) && needed > 0:
		return fmt.Sprintf("%d/%d", got, needed)
	case got > 0:
		// What was granted had all that it needed then, whatever the policy says now.
		return fmt.Sprintf("%d/%d", got, got)
	default:
		return ""
	}
}

// awaited says whether the request lacks, or did lack at its end, an approval.
func awaited(req *v1alpha1.AccessRequest) bool {
	switch reasonOf(req) {
	case v1alpha1.ReasonPendingApproval, v1alpha1.ReasonApprovalTimedOut, v1alpha1.ReasonDenied:
		return true
	default:
		return false
	}
}
