// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/clouds"
)

const byGrant = `RBAC: allowed by RoleBinding "lapse-debug-4602efc0/payments" of ClusterRole "edit" to User "alice"`

// logged is an Event of kube-apiserver, some seconds after the request.
func logged(id string, seconds int, change func(*event)) event {
	at := after(seconds).Time
	e := event{
		AuditID: id, Stage: stageComplete, Verb: "list", URI: "/api/v1/namespaces/payments/pods",
		User: caller{"alice", []string{"oncall"}},
		From: []string{"10.0.0.1"}, Agent: "kubectl", Object: &object{Resource: "pods", Namespace: "payments"},
		Status: &status{200}, Began: at, Ended: at,
		Annotations: map[string]string{decisionAnnotation: "allow", reasonAnnotation: byGrant},
	}
	if change != nil {
		change(&e)
	}
	return e
}

func text(t *testing.T, value any) string {
	t.Helper()
	out, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// read has a report read records and a log.
func read(t *testing.T, q Question, records []Record, log string) *Reporter {
	t.Helper()
	r := NewReporter(q)
	lines := make([]string, 0, len(records)+2)
	for _, record := range records {
		lines = append(lines, text(t, record))
	}
	lines = append(lines, lines[0], "a line of a log") // told again
	if err := r.ReadRecords("records", strings.NewReader(strings.Join(lines, "\n"))); err != nil {
		t.Fatal(err)
	}
	r.Choose()
	if err := r.ReadCalls("log", strings.NewReader(log)); err != nil || r.Unread() > 0 {
		t.Fatalf("%d lines were not understood; %v", r.Unread(), err)
	}
	return r
}

// reported are the histories that records and a log tell.
func reported(t *testing.T, q Question, req *v1alpha1.AccessRequest, decisions []v1alpha1.AccessDecision, log string) []*History {
	t.Helper()
	return read(t, q, Of("/clusters/1", req, decisions), log).Histories()
}

// logOf has Events, one to a line.
func logOf(t *testing.T, events ...event) string {
	t.Helper()
	lines := make([]string, 0, len(events))
	for i := range events {
		lines = append(lines, text(t, events[i]))
	}
	return strings.Join(lines, "\n")
}

func idsOf(calls []*Call) string {
	out := make([]string, 0, len(calls))
	for _, c := range calls {
		out = append(out, c.AuditID)
	}
	return strings.Join(out, " ")
}

func TestCallsAreOfTheGrantOfSomethingElseOrRefused(t *testing.T) {
	req, decisions := revoked() // of alice in payments, from 5 to 60
	by := func(reason string) func(*event) {
		return func(e *event) { e.Annotations[reasonAnnotation] = reason }
	}
	calls := []event{
		logged("by-grant", 10, nil),
		logged("by-grant-late", 61, nil), // the authorizer had not heard of the end
		logged("by-another-grant", 10, by(`RBAC: allowed by RoleBinding "lapse-debug-99999999/payments" of ClusterRole "edit" to User "alice"`)),
		logged("by-its-namesake", 10, by(`RBAC: allowed by RoleBinding "lapse-debug-4602efc0/orders" of ClusterRole "edit" to User "alice"`)),
		logged("by-more", 11, by(`RBAC: allowed by ClusterRoleBinding "admins" of ClusterRole "cluster-admin" to User "alice"`)),
		logged("by-webhook", 12, by("")),
		logged("before", 4, by("")),
		logged("after", 60, by("")),
		logged("elsewhere", 10, func(e *event) { e.Object.Namespace, e.Annotations[reasonAnnotation] = "orders", "" }),
		logged("of-bob", 10, func(e *event) { e.User.Username, e.Annotations[reasonAnnotation] = "bob", "" }),
		logged("as-alice", 13, func(e *event) {
			e.User.Username, e.As, e.Annotations[reasonAnnotation] = "bob", &caller{Username: "alice"}, ""
		}),
		logged("forbidden", 14, func(e *event) {
			e.Status.Code, e.Annotations = 403, map[string]string{decisionAnnotation: "forbid", reasonAnnotation: ""}
		}),
		logged("may-not-impersonate", 15, func(e *event) { e.Status.Code, e.Annotations = 403, nil }),
		logged("as-an-account", 12, func(e *event) {
			e.As = &caller{Username: "system:serviceaccount:payments:deployer"}
			e.Annotations[reasonAnnotation] = `RBAC: allowed by RoleBinding "deployer/payments" of Role "d"`
		}),
		logged("by-grant", 11, func(e *event) { e.Verb = "delete" }), // whoever calls chooses the auditID
		logged("by-grant", 10, nil),                                  // rotated logs overlap
		logged("received", 10, func(e *event) { e.Stage = "RequestReceived" }),
	}
	histories := reported(t, Question{}, req, decisions, logOf(t, calls...))
	if len(histories) != 1 {
		t.Fatalf("%d histories", len(histories))
	}
	s := histories[0]
	for name, got := range map[string][2]string{
		"calls":   {idsOf(s.Calls), "by-grant by-grant by-grant-late"},
		"others":  {idsOf(s.Others), "by-another-grant by-its-namesake by-more as-an-account by-webhook as-alice"},
		"refused": {idsOf(s.Refused), "forbidden may-not-impersonate"},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %s, want %s", name, got[0], got[1])
		}
	}
	if as := s.Others[len(s.Others)-1]; as.User != "alice" || as.Impersonator != "bob" {
		t.Errorf("who acted as whom: %s", text(t, as))
	}
	if len(s.Decisions) != 2 || s.Grant.EndedBy != "carol" || s.Request.Reason != "INC-4211" {
		t.Errorf("%s", text(t, s))
	}
}

func TestASessionThatOutlivesItsGrantIsSeen(t *testing.T) {
	req, decisions := revoked()
	session := func(e *event) { e.Verb, e.Object.Subresource, e.Object.Name = "get", "exec", "checkout" }
	began := logged("exec", 50, func(e *event) { session(e); e.Stage, e.Status.Code = stageStarted, 101 })
	over := logged("exec", 50, func(e *event) { session(e); e.Status.Code, e.Ended = 101, after(600).Time })
	for name, log := range map[string]string{
		"both stages":    text(t, began) + "\n" + text(t, over),
		"last first":     text(t, over) + "\n" + text(t, began),
		"the last alone": text(t, over),
	} {
		calls := reported(t, Question{}, req, decisions, log)[0].Calls
		if len(calls) != 1 || !calls[0].Session || !calls[0].Outlived || calls[0].Until == nil || !calls[0].Until.Equal(after(600).Time) {
			t.Errorf("%s: %s", name, text(t, calls))
		}
	}
	calls := reported(t, Question{}, req, decisions, text(t, began))[0].Calls
	if len(calls) != 1 || calls[0].Until != nil || calls[0].Outlived {
		t.Errorf("while it is open: %s", text(t, calls))
	}
}

func TestLogsOfCloudsTellTheSame(t *testing.T) {
	req, decisions := revoked()
	events := make([]event, 45) // more than is sent at once
	for i := range events {
		events[i] = logged(fmt.Sprint("x-", i), 10+i, nil)
	}
	log := logOf(t, events...)
	want := text(t, reported(t, Question{}, req, decisions, log)[0].Calls)
	logs := clouds.Exports(t, []byte(log))
	maps.Copy(logs, map[string][]byte{
		"a list":                 []byte(`{"kind":"EventList","items":` + text(t, events) + `}`),
		"over several lines":     []byte(strings.NewReplacer("{", "{\n", ",", ",\n").Replace(log)),
		"twice, with empty ones": []byte(log + "\n\n" + log + "\n"),
	})
	for name, log := range logs {
		t.Run(name, func(t *testing.T) {
			if got := text(t, reported(t, Question{}, req, decisions, string(log))[0].Calls); got != want {
				t.Errorf("%s\nwant %s", got, want)
			}
		})
	}
}

func TestAQuestionIsAnswered(t *testing.T) {
	req, decisions := revoked()
	for name, tc := range map[string]struct {
		q    Question
		want bool
	}{
		"all":                     {Question{}, true},
		"by name":                 {Question{Request: "debug"}, true},
		"by UID":                  {Question{Request: "4602efc0"}, true},
		"another":                 {Question{Request: "deb"}, false},
		"who asked":               {Question{Person: "alice"}, true},
		"who approved":            {Question{Person: "bob"}, true},
		"nobody of it":            {Question{Person: "mallory"}, false},
		"the role":                {Question{Role: "edit", Namespace: "payments"}, true},
		"another role":            {Question{Role: "view"}, false},
		"the policy":              {Question{Policy: "oncall"}, true},
		"another policy":          {Question{Policy: "on"}, false},
		"another namespace":       {Question{Namespace: "orders"}, false},
		"held at that time":       {Question{From: after(59).Time, Until: after(59).Time}, true},
		"over by then":            {Question{From: after(61).Time}, false},
		"not held yet":            {Question{Until: after(4).Time}, false},
		"in the middle of it all": {Question{From: after(-10).Time, Until: after(100).Time}, true},
	} {
		if got := len(reported(t, tc.q, req, decisions, "")) == 1; got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestAccessOfAGroupIsThatOfItsMembers(t *testing.T) {
	req, decisions := revoked()
	req.Spec.Subject = &v1alpha1.Subject{Kind: v1alpha1.GroupKind, Name: "oncall"}
	other := logged("x", 10, func(e *event) { e.Annotations[reasonAnnotation] = "" })
	stranger := logged("y", 10, func(e *event) { e.User.Groups, e.Annotations[reasonAnnotation] = nil, "" })
	s := reported(t, Question{}, req, decisions, text(t, other)+"\n"+text(t, stranger))[0]
	if idsOf(s.Others) != "x" {
		t.Errorf("%s", idsOf(s.Others))
	}
}

func TestALineThatConcernsNobodyIsNotRead(t *testing.T) {
	req, decisions := revoked()
	chosen := func(name string) *Reporter {
		req.Spec.Subject.Name = name
		r := NewReporter(Question{})
		for _, record := range Of("", req, decisions) {
			r.ReadRecord(&record)
		}
		r.Choose()
		return r
	}
	granted := fmt.Sprintf(`{"a":%q}`, byGrant)
	for _, tc := range []struct {
		holder, line string
		want         bool
	}{
		{"alice", `{"user":{"username":"alice"}}`, true},
		{"alice", `{"message":"{\"user\":{\"username\":\"alice\"}}"}`, true},
		{"alice", `{"groups":["x","alice"]}`, true},
		{"alice", granted, true},
		{"alice", strings.ReplaceAll(granted, "/", `\/`), true}, // as PHP and others write it
		{"alice", `{"message":` + fmt.Sprintf("%q", granted) + `}`, true},
		{"alice", `{"user":{"username":"alice2"}}`, false},
		{"alice", `{"user":{"username":"bob"}}`, false},
		{"https://id.example.com#alice", `{"username":"https://id.example.com#alice"}`, true},
		{"https://id.example.com#alice", `{"username":"https:\/\/id.example.com#alice"}`, true},
		{"https://id.example.com#alice", `{"username":"https://id.example.com#bob"}`, false},
		{"alice", `{"message":"{\u0022username\u0022:\u0022alice\u0022}"}`, true}, // as .NET writes it
		{"alice+ops", `{"username":"alice\u002Bops"}`, true},
		{"alice", `{"username":"bob","uri":"/api?a=1\u0026b=2"}`, false}, // as kube-apiserver does
		{`al"ice`, `{"username":"bob"}`, true},                           // whose name JSON may write in several ways
		{"alice/", `{"username":"bob"}`, true},
		{"ali\u00e7e", `{"username":"bob"}`, true},
	} {
		if got := chosen(tc.holder).mayConcern([]byte(tc.line)); got != tc.want {
			t.Errorf("%s may concern the access of %s: %v", tc.line, tc.holder, got)
		}
	}
}
