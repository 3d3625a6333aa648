// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/audit"
	"github.com/lapse-dev/lapse/internal/text"
	"github.com/lapse-dev/lapse/test/hostile"
)

// hostileFiles writes, for each string, records of a grant and of a refusal with it in all that
// people write, and a log with calls of each kind.
func hostileFiles(t *testing.T, written []string) {
	t.Helper()
	t.Chdir(t.TempDir())
	at := time.Date(2026, 11, 29, 6, 0, 0, 0, time.UTC)
	end := at.Add(time.Minute)
	chain := audit.NewChain("lapse-manager-1")
	var records, log bytes.Buffer
	for i, s := range written {
		ns := fmt.Sprintf("ns-%d", i)
		request := audit.Request{
			Kind: "AccessRequest", Namespace: ns, Name: "debug", UID: "granted-" + asUID(i), AskedAt: at, Reason: s, Message: s,
			Requester: &v1alpha1.Identity{Username: s, Groups: []string{s}}, Subject: &v1alpha1.Subject{Kind: v1alpha1.UserKind, Name: s},
			RoleRef: v1alpha1.RoleRef{Kind: v1alpha1.ClusterRoleKind, Name: s}, Policy: &v1alpha1.PolicyReference{Name: s, Generation: 3},
			Approvals: []v1alpha1.Approval{{Decision: "another", Reviewer: s, Time: metav1.NewTime(at)}},
		}
		refused := request
		refused.UID, refused.Outcome = "refused-"+asUID(i), s
		decision := &audit.Decision{
			Name: "d", UID: asUID(i), Verdict: v1alpha1.VerdictApprove, Reviewer: &v1alpha1.Identity{Username: s}, Comment: s,
		}
		grant := &audit.Grant{
			Binding: "lapse-debug", GrantedAt: at, ExpiresAt: at.Add(time.Hour), EndedAt: &end, EndReason: "Revoked", EndedBy: s, RoleChange: s,
		}
		for _, r := range []audit.Record{
			{Type: audit.Ended, Data: audit.Data{Request: &request, Decision: decision, Grant: grant}},
			{Type: audit.Refused, Data: audit.Data{Request: &refused}},
		} {
			r.SpecVersion, r.ID, r.Time = "1.0", ns+"/"+string(r.Type), end
			line, err := chain.Append(r)
			if err != nil {
				t.Fatal(err)
			}
			records.Write(append(line, '\n'))
		}
		for n, said := range []map[string]string{
			{"authorization.k8s.io/reason": `RBAC: allowed by RoleBinding "lapse-debug/` + ns + `" of ClusterRole`},
			{"authorization.k8s.io/reason": s},
			{"authorization.k8s.io/decision": "forbid", "authorization.k8s.io/reason": s},
		} {
			call, err := json.Marshal(map[string]any{
				"auditID": fmt.Sprintf("%d%s", n, s), "stage": "ResponseComplete", "verb": s, "user": map[string]any{"username": s},
				"impersonatedUser": map[string]any{"username": s}, "sourceIPs": []string{s, s}, "userAgent": s, "requestURI": s,
				"objectRef":                map[string]string{"resource": "pods", "subresource": s, "apiGroup": s, "namespace": ns, "name": s},
				"responseStatus":           map[string]int{"code": 200},
				"requestReceivedTimestamp": at.Add(time.Duration(n) * time.Second), "stageTimestamp": end, "annotations": said,
			})
			if err != nil {
				t.Fatal(err)
			}
			log.Write(append(call, '\n'))
		}
	}
	for name, data := range map[string][]byte{"records.jsonl": records.Bytes(), "audit.log": log.Bytes()} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// asUID is one for each string.
func asUID(i int) types.UID { return types.UID(fmt.Sprint("uid-", i)) }

// reportIn is a report in some format of all that hostileFiles wrote.
func reportIn(t *testing.T, format string, written []string) string {
	t.Helper()
	hostileFiles(t, written)
	out, errOut, code := report(t, "--records", "records.jsonl", "--audit-log", "audit.log", "-o", format)
	if code != 0 || errOut != "" {
		t.Fatalf("in %s: exit %d, %s", format, code, errOut)
	}
	mustBeHarmless(t, out)
	return out
}

// harmless are as many strings as there are hostile ones.
func harmless(hostile []string) []string { return slices.Repeat([]string{"alice"}, len(hostile)) }

// begins is what each line begins with: our words, and the room that they leave.
func begins(lines string, columns int) []string {
	all := strings.Split(strings.TrimSuffix(lines, "\n"), "\n")
	for i, line := range all {
		all[i] = line[:min(columns, len(line))]
	}
	return all
}

func TestAReportForPeopleHasNoLineOfTheirs(t *testing.T) {
	written := hostile.Strings(t)
	want, got := begins(reportIn(t, reportText, harmless(written)), 12), begins(reportIn(t, reportText, written), 12)
	if i := firstDifference(got, want); i >= 0 {
		t.Errorf("line %d begins with %q, want %q", i+1, got[i:min(i+1, len(got))], want[i:min(i+1, len(want))])
	}
}

func TestAReportOnATerminalHasNoLineOfTheirs(t *testing.T) {
	const width = 60
	for _, s := range historiesOf(t, hostile.Strings(t)) {
		var whole, wrapped strings.Builder
		printHistory(&whole, s, 0)
		printHistory(&wrapped, s, width)
		mustBeHarmless(t, wrapped.String())
		if got, want := ours(wrapped.String()), ours(whole.String()); !slices.Equal(got, want) {
			t.Errorf("%.60q: lines begin with %q, want %q", s.Request.Reason, got, want)
		}
		for line := range strings.Lines(wrapped.String()) {
			if used := len([]rune(strings.TrimSuffix(line, "\n"))); used > width {
				t.Errorf("%.60q: a line of %d characters", s.Request.Reason, used)
			}
		}
	}
}

// ours are the beginnings of lines that stand where our words do: the headline, facts and calls.
func ours(lines string) []string {
	return slices.DeleteFunc(begins(lines, 6), func(line string) bool { return strings.HasPrefix(line, "      ") })
}

func historiesOf(t *testing.T, written []string) (histories []*audit.History) {
	t.Helper()
	if err := json.Unmarshal([]byte(reportIn(t, outputJSON, written)), &histories); err != nil {
		t.Fatal(err)
	}
	return histories
}

func TestAReportInJSONSaysWhatTheySaid(t *testing.T) {
	written := hostile.Strings(t)
	told := map[string]*audit.History{}
	for _, s := range historiesOf(t, written) {
		told[string(s.Request.UID)] = s
	}
	for i, s := range written {
		want, granted, refused := asText(s), told["granted-"+string(asUID(i))], told["refused-"+string(asUID(i))]
		if granted == nil || refused == nil || len(granted.Calls) != 1 || len(granted.Others) != 1 || len(granted.Refused) != 1 {
			t.Fatalf("%.60q: not all of it is told", s)
		}
		for where, got := range map[string]string{
			"reason": granted.Request.Reason, "requester": granted.Request.Requester.Username, "comment": granted.Decisions[0].Comment,
			"ended by": granted.Grant.EndedBy, "agent": granted.Calls[0].Agent, "name": granted.Calls[0].Name,
			"allowed by": granted.Others[0].AllowedBy, "impersonator": granted.Refused[0].Impersonator, "outcome": refused.Request.Outcome,
		} {
			if got != want {
				t.Errorf("%s: %.60q came back as %.60q", where, want, got)
			}
		}
	}
}

func TestAReportInOCSFIsOneEventToALine(t *testing.T) {
	written := hostile.Strings(t)
	lines := strings.Split(strings.TrimSuffix(reportIn(t, reportOCSF, written), "\n"), "\n")
	if len(lines) != 2*len(written) {
		t.Errorf("%d lines of %d grants", len(lines), len(written))
	}
	for _, line := range lines {
		if !json.Valid([]byte(line)) {
			t.Errorf("%.200q is no JSON", line)
		}
	}
}

func TestAReportInCSVHasNoFormula(t *testing.T) {
	written := hostile.Strings(t)
	table := reportIn(t, reportCSV, written)
	rows, err := csv.NewReader(strings.NewReader(table)).ReadAll()
	if err != nil || len(rows) != 1+4*len(written) {
		t.Fatalf("%v, %d rows", err, len(rows))
	}
	if lines := strings.Count(table, "\n"); lines != len(rows) {
		t.Errorf("%d rows are on %d lines", len(rows), lines)
	}
	for _, row := range rows[1:] {
		var i int
		if _, err := fmt.Sscanf(row[0], "ns-%d", &i); err != nil {
			t.Fatal(err)
		}
		mustBeNoFormulas(t, row)
		for _, column := range []string{"requester", "reason", "policy", "approvedBy"} {
			got, want := row[slices.Index(csvHeader, column)], text.Line(written[i])
			if strings.ReplaceAll(got, "'", "") != strings.ReplaceAll(want, "'", "") {
				t.Errorf("%s: %.60q became %.60q", column, want, got)
			}
		}
	}
	for line := range strings.Lines(table) { // where the semicolon separates
		pieces := strings.Split(strings.TrimSuffix(line, "\n"), ";")
		for i := range pieces {
			pieces[i] = strings.TrimLeft(pieces[i], "\" ")
		}
		mustBeNoFormulas(t, pieces)
	}
}

func mustBeNoFormulas(t *testing.T, cells []string) {
	t.Helper()
	for _, c := range cells {
		if c != "" && strings.ContainsRune("=+-@\t\r\n\x00＝＋－＠", []rune(c)[0]) {
			t.Errorf("%.60q is a formula", c)
		}
	}
}

func TestAReportAsAPageHasNoMarkupOfTheirs(t *testing.T) {
	written := hostile.Strings(t)
	want, _ := outline(t, reportIn(t, reportHTML, harmless(written)))
	got, shown := outline(t, reportIn(t, reportHTML, written))
	if i := firstDifference(got, want); i >= 0 {
		t.Errorf("there is %q, want %q", got[i:min(i+1, len(got))], want[i:min(i+1, len(want))])
	}
	for _, element := range got {
		if strings.HasPrefix(element, "script") || strings.Contains(element, " on") {
			t.Errorf("the page has a %s", element)
		}
	}
	for _, s := range written {
		if !strings.Contains(shown, text.Line(s)) {
			t.Errorf("the page does not show %.60q", s)
		}
	}
}

// outline has the elements of a page with all of their attributes, and the text in them, as a
// browser reads it.
func outline(t *testing.T, page string) (elements []string, shown string) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for node := range root.Descendants() {
		switch node.Type { //nolint:exhaustive // all else is told by its number
		case html.ElementNode:
			element := node.Data
			for _, a := range node.Attr {
				element += fmt.Sprintf(" %s=%q", a.Key, a.Val)
			}
			elements = append(elements, element)
		case html.TextNode:
			all.WriteString(node.Data)
		case html.DoctypeNode:
		default: // a comment, or what is not understood
			elements = append(elements, fmt.Sprint("node of type ", node.Type))
		}
	}
	return elements, all.String()
}

// firstDifference is -1 if there is none.
func firstDifference(a, b []string) int {
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] {
			return i
		}
	}
	return -1
}

// requestOf somebody who writes the same everywhere, and who decided on it.
func requestOf(written string) (v1alpha1.AccessRequest, []v1alpha1.AccessDecision) {
	req := over(held(under(example("evil", v1alpha1.StateRevoked, written, written), written, written), 42), written)
	req.Spec.Reason, req.Spec.PolicyName, req.Spec.RoleRef.Name = written, written, written
	req.Spec.Subject.Name, req.Spec.Requester.Username = written, written
	return req, []v1alpha1.AccessDecision{{
		ObjectMeta: metav1.ObjectMeta{Name: "no", CreationTimestamp: minutes(-1)},
		Spec: v1alpha1.AccessDecisionSpec{
			Verdict: v1alpha1.VerdictRevoke, Comment: written, Reviewer: &v1alpha1.Identity{Username: written},
		},
	}}
}

func TestAHistoryHasNoTitleOfTheirs(t *testing.T) {
	titles := func(written string, width int) []string {
		s := &story{now: noon, unread: []string{written}}
		req, decisions := requestOf(written)
		s.req, s.decisions = &req, decisions
		told := s.tell(width)
		mustBeHarmless(t, told)
		_, lines, _ := strings.Cut(told, "\n")
		return slices.DeleteFunc(begins(lines, margin), func(title string) bool { return strings.TrimSpace(title) == "" })
	}
	want := titles("alice", 0)
	for _, s := range hostile.Strings(t) {
		for _, width := range []int{0, 60} {
			if got := titles(s, width); !slices.Equal(got, want) {
				t.Errorf("%.60q, in %d columns: titles are %q, want %q", s, width, got, want)
			}
		}
	}
}

func TestATableHasARowForEachRequest(t *testing.T) {
	written := hostile.Strings(t)
	requests := make([]v1alpha1.AccessRequest, 0, len(written))
	for _, s := range written {
		req, _ := requestOf(s)
		requests = append(requests, req)
	}
	for name, shown := range map[string]table{"piped": {}, "wide": {wide: true, allNamespaces: true}, "on a terminal": {width: 80}} {
		var b bytes.Buffer
		shown.now = noon
		if err := shown.print(&b, requests); err != nil {
			t.Fatal(err)
		}
		mustBeHarmless(t, b.String())
		rows := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
		if len(rows) != 1+len(requests) {
			t.Errorf("%s: %d rows of %d requests", name, len(rows), len(requests))
		}
		for _, row := range rows[1:] {
			if first := strings.Fields(row)[0]; first != "evil" && first != "payments" {
				t.Errorf("%s: a row begins with %.60q", name, row)
			}
		}
	}
}
