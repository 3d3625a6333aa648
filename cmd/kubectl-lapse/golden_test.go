// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/text"
)

var update = flag.Bool("update", false, "write what is seen into the golden files")

// golden compares with a file, or writes it with -update.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; make generate writes it anew if that is meant\ngot:\n%s\nwant:\n%s", file, got, want)
	}
}

var (
	noon  = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	asked = metav1.NewTime(noon.Add(-10 * time.Minute))
)

func minutes(n int) metav1.Time { return metav1.NewTime(noon.Add(time.Duration(n) * time.Minute)) }

// example is a request of alice's in some state.
func example(name string, state v1alpha1.RequestState, reason, message string) v1alpha1.AccessRequest {
	req := v1alpha1.AccessRequest{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "payments", UID: "0a1b2c3d", CreationTimestamp: asked},
		Spec: v1alpha1.AccessRequestSpec{
			RoleRef:   v1alpha1.RoleRef{Kind: v1alpha1.ClusterRoleKind, Name: "edit"},
			Subject:   &v1alpha1.Subject{Kind: v1alpha1.UserKind, Name: "alice"},
			Duration:  &metav1.Duration{Duration: time.Hour},
			Reason:    "INC-4211: checkout returns 500",
			Requester: &v1alpha1.Identity{Username: "alice", Groups: []string{"oncall"}},
		},
		Status: v1alpha1.AccessRequestStatus{State: state},
	}
	if state != "" {
		req.Status.Conditions = []metav1.Condition{
			{Type: v1alpha1.ConditionReady, Reason: reason, Message: message, LastTransitionTime: minutes(-5)},
		}
	}
	return req
}

func under(req v1alpha1.AccessRequest, policy string, approvals ...string) v1alpha1.AccessRequest {
	req.Status.Policy = &v1alpha1.PolicyReference{Name: policy, UID: "p", Generation: 1}
	for i, who := range approvals {
		req.Status.Approvals = append(req.Status.Approvals, v1alpha1.Approval{Decision: who + "-says", Reviewer: who, Time: minutes(i - 9)})
	}
	return req
}

func held(req v1alpha1.AccessRequest, ends int) v1alpha1.AccessRequest {
	req.Status.Grant = &v1alpha1.Grant{Binding: "lapse-" + req.Name + "-0a1b2c3d", GrantedAt: minutes(-8), ExpiresAt: minutes(ends)}
	return req
}

func over(req v1alpha1.AccessRequest, by string) v1alpha1.AccessRequest {
	end := minutes(-1)
	req.Status.Grant.EndedAt, req.Status.Grant.EndedBy, req.Status.Grant.EndReason = &end, by, reasonOf(&req)
	return req
}

// gallery has a request in every state there is.
func gallery() []v1alpha1.AccessRequest {
	later := minutes(180)
	scheduled := under(example("scheduled", v1alpha1.StateScheduled, v1alpha1.ReasonScheduled,
		"allowed by policy oncall-edit; access begins at 2026-12-01T15:00:00Z"), "oncall-edit")
	scheduled.Spec.NotBefore = &later
	account := held(under(example("account", v1alpha1.StateActive, v1alpha1.ReasonGranted,
		"allowed by policy ci; access ends at 2026-12-01T12:00:30Z"), "ci"), 0)
	account.Status.Grant.ExpiresAt = metav1.NewTime(noon.Add(30 * time.Second))
	account.Spec.RoleRef = v1alpha1.RoleRef{Kind: v1alpha1.RoleKind, Name: "migrate"}
	account.Spec.Subject = &v1alpha1.Subject{Kind: v1alpha1.ServiceAccountKind, Namespace: "payments", Name: "migrator"}
	account.Spec.NotAfter = &later
	evil := example("evil", v1alpha1.StateFailed, v1alpha1.ReasonBindFailed,
		"the API server refused the RoleBinding: \x1b[2J\u202egnp.exe\u009b2J")
	evil.Spec.Reason = "two\nlines\x1b[1A and \u202ereversed"
	evil.Spec.Subject, evil.Spec.Requester.Username = nil, "eve\x07\r"
	return []v1alpha1.AccessRequest{
		example("new", "", "", ""),
		under(example("pending", v1alpha1.StatePending, v1alpha1.ReasonPendingApproval,
			`waits for 1 of Group "security"; approved by "bob" (policy payments-admin), until 2026-12-01T12:50:00Z`), "payments-admin", "bob"),
		under(example("unread", v1alpha1.StatePending, v1alpha1.ReasonPendingApproval,
			`waits for 1 of User "zoe" (policy secret), until 2026-12-01T12:50:00Z`), "secret"),
		scheduled,
		held(under(example("active", v1alpha1.StateActive, v1alpha1.ReasonGranted,
			"allowed by policy payments-admin; access ends at 2026-12-01T12:42:00Z"), "payments-admin", "bob", "dave"), 42),
		account,
		held(under(example("overdue", v1alpha1.StateActive, v1alpha1.ReasonGranted,
			"allowed by policy oncall-edit; access ends at 2026-12-01T11:57:00Z"), "oncall-edit"), -3),
		over(held(under(example("expired", v1alpha1.StateExpired, v1alpha1.ReasonExpired, "access ended as promised at 2026-12-01T11:59:00Z"),
			"oncall-edit"), -1), ""),
		over(held(under(example("returned", v1alpha1.StateReturned, v1alpha1.ReasonReturned, `given back by "alice": "done"`), "oncall-edit"),
			42), "alice"),
		over(held(under(example("revoked", v1alpha1.StateRevoked, v1alpha1.ReasonRevoked, `revoked by "bob": "the change is off"`),
			"payments-admin", "bob", "dave"), 42), "bob"),
		example("refused", v1alpha1.StateDenied, v1alpha1.ReasonDenied,
			"no policy allows this: policy oncall-edit: duration 8h is longer than its maxDuration 4h, and the reason must begin with an incident "+
				"number; policy payments-admin: roleRef ClusterRole \"edit\" is not among its roles (ClusterRole \"admin\")"),
		under(example("late", v1alpha1.StateDenied, v1alpha1.ReasonApprovalTimedOut, "not approved within 1h0m0s"), "payments-admin", "bob"),
		evil,
	}
}

// known are the policies of the gallery but the secret one.
func known() map[string]*v1alpha1.AccessPolicy {
	admin := &v1alpha1.AccessPolicy{}
	admin.Spec.Approvals = []v1alpha1.ApprovalRule{{Count: 1}, {Count: 1}}
	return map[string]*v1alpha1.AccessPolicy{"payments-admin": admin, "oncall-edit": {}, "ci": {}}
}

func TestTableShowsEveryStateForPeople(t *testing.T) {
	for name, shown := range map[string]table{
		"table": {width: 80}, "table-all": {width: 80, allNamespaces: true}, "table-wide": {width: 80, allNamespaces: true, wide: true},
	} {
		var b bytes.Buffer
		shown.now, shown.policies = noon, known()
		if err := shown.print(&b, gallery()); err != nil {
			t.Fatal(err)
		}
		golden(t, filepath.Join("testdata", name+".golden"), b.String())
		mustBeHarmless(t, b.String())
		for line := range strings.SplitSeq(b.String(), "\n") {
			if used := utf8.RuneCountInString(line); !shown.wide && used > shown.width {
				t.Errorf("%s: a line of %d characters: %s", name, used, line)
			}
		}
	}
}

func TestTableFits80CharactersAndCutsStatesLast(t *testing.T) {
	const account, role = "system:serviceaccount:payments:some-migrator", "some-long-name-of-a-role"
	for _, state := range []v1alpha1.RequestState{
		"", v1alpha1.StatePending, v1alpha1.StateScheduled, v1alpha1.StateActive, v1alpha1.StateExpired, v1alpha1.StateReturned,
		v1alpha1.StateDenied, v1alpha1.StateRevoked, v1alpha1.StateFailed,
	} {
		req := held(under(example("edit-x7k2p", state, v1alpha1.ReasonAdmissionNotEnforced, ""), "payments-admin", "bob", "dave"), -3000)
		row := func(width int) []string {
			shown := table{now: noon, policies: known()}
			rows := [][]string{shown.titles(), shown.cells(&req)}
			squeeze(rows, width)
			if used := utf8.RuneCountInString(strings.Join(rows[1], "  ")); used > width {
				t.Errorf("%q: %d characters do not fit %d: %q", state, used, width, rows[1])
			}
			return rows[1]
		}
		if got := row(100); got[3] != stateText(&req) {
			t.Errorf("there is room for %q, which is cut to %q", stateText(&req), got[3])
		}
		req.Spec.Subject.Name, req.Spec.RoleRef.Name = account, role
		got := row(80)
		if got[0] != "edit-x7k2p" || !strings.HasPrefix(got[3], strings.Fields(stateText(&req))[0]) {
			t.Errorf("%q: the row is %q", state, got)
		}
		if got[3] != stateText(&req) && (got[1] != "system:se…" || got[2] != "some-lo…") {
			t.Errorf("the state is cut before what is longer: %q", got)
		}
	}
}

func TestNothingIsCutWhereThereIsNoTerminal(t *testing.T) {
	for name, shown := range map[string]table{"piped": {}, "wide": {width: 80, wide: true}} {
		req := example("new", v1alpha1.StateFailed, v1alpha1.ReasonAdmissionNotEnforced, "")
		req.Spec.Subject.Name = strings.Repeat("long", 30)
		var b bytes.Buffer
		if err := shown.print(&b, []v1alpha1.AccessRequest{req}); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), "…") {
			t.Errorf("%s: %s", name, b.String())
		}
	}
}

func TestWhyTellsEveryStory(t *testing.T) {
	admin := &v1alpha1.AccessPolicy{ObjectMeta: metav1.ObjectMeta{Name: "payments-admin", UID: "p", Generation: 1}}
	admin.Spec.Approvals = []v1alpha1.ApprovalRule{
		{From: []v1alpha1.Subject{{Kind: v1alpha1.GroupKind, Name: "sre-leads"}, {Kind: v1alpha1.UserKind, Name: "zoe"}}, Count: 1},
		{From: []v1alpha1.Subject{{Kind: v1alpha1.GroupKind, Name: "security"}}, Count: 1},
	}
	admin.Spec.Revokers = []v1alpha1.Subject{{Kind: v1alpha1.GroupKind, Name: "incident-response"}}
	admin.Status.Risks = []string{"ClusterRole admin: its holder can read secrets, with the passwords and tokens in them"}
	said := func(name, who string, verdict v1alpha1.Verdict, ago int, comment string) v1alpha1.AccessDecision {
		return v1alpha1.AccessDecision{
			ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: minutes(-ago)},
			Spec:       v1alpha1.AccessDecisionSpec{Verdict: verdict, Comment: comment, Reviewer: &v1alpha1.Identity{Username: who}},
		}
	}
	var b bytes.Buffer
	for _, req := range gallery() {
		s := &story{now: noon, req: &req}
		if ref := req.Status.Policy; ref != nil && ref.Name == "payments-admin" {
			s.policy = admin
			s.decisions = []v1alpha1.AccessDecision{
				said("alice-says", "alice", v1alpha1.VerdictApprove, 7, "it is me"),
				said("bob-says", "bob", v1alpha1.VerdictApprove, 9, "go ahead, I watch the dashboards"),
			}
		}
		if req.Name == "revoked" {
			s.decisions = append(s.decisions, said("no", "bob", v1alpha1.VerdictRevoke, 1, "the change is off"))
		}
		if req.Name == "unread" {
			s.unread = []string{"policy secret: you (alice) may not get accesspolicies.lapse.dev in the whole cluster"}
		}
		if err := s.print(&b); err != nil {
			t.Fatal(err)
		}
		b.WriteString("\n")
	}
	golden(t, filepath.Join("testdata", "why.golden"), b.String())
	mustBeHarmless(t, b.String())
}

func TestAStoryHasTheFirstRisksAndCountsTheOthers(t *testing.T) {
	req := under(example("pending", v1alpha1.StatePending, v1alpha1.ReasonPendingApproval, "waits"), "p")
	s := &story{now: noon, req: &req, policy: &v1alpha1.AccessPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p"}}}
	for i := range maxRisks {
		s.policy.Status.Risks = append(s.policy.Status.Risks, fmt.Sprintf("edit: risk %d", i))
	}
	if got := s.risks(); !slices.Equal(got, s.policy.Status.Risks) {
		t.Errorf("risks that fit are shown as %q", got)
	}
	s.policy.Status.Risks = append(s.policy.Status.Risks, "edit: the last")
	got := s.risks()
	more := "and 2 more lines: kubectl get accesspolicy p "
	if len(got) != maxRisks || got[0] != "edit: risk 0" || !strings.HasPrefix(got[maxRisks-1], more) {
		t.Errorf("too many risks are shown as %q", got)
	}
}

// mustBeHarmless fails if a terminal would act on anything but line breaks.
func mustBeHarmless(t *testing.T, printed string) {
	t.Helper()
	if printed != text.Printable(printed, "\n\t") {
		t.Errorf("there is something in this that a terminal would act upon: %q", printed)
	}
}
