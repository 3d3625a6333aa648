// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

var asked = time.Date(2026, 11, 29, 6, 0, 0, 0, time.UTC)

func after(seconds int) metav1.Time {
	return metav1.NewTime(asked.Add(time.Duration(seconds) * time.Second))
}

// revoked is a request that somebody denied after it was granted, and its decisions.
func revoked() (*v1alpha1.AccessRequest, []v1alpha1.AccessDecision) {
	req := builders.Request("debug").In("payments").By("alice").ForClusterRole("edit").Build()
	req.UID, req.CreationTimestamp, req.Spec.Reason = "4602efc0", after(0), "INC-4211"
	req.Spec.Subject = &v1alpha1.Subject{Kind: v1alpha1.UserKind, Name: "alice"}
	end := after(60)
	req.Status = v1alpha1.AccessRequestStatus{
		State: v1alpha1.StateRevoked, Policy: &v1alpha1.PolicyReference{Name: "oncall", UID: "1", Generation: 3},
		Grant: &v1alpha1.Grant{
			Binding: "lapse-debug-4602efc0", GrantedAt: after(5), ExpiresAt: after(3600),
			EndedAt: &end, EndReason: v1alpha1.ReasonRevoked, EndedBy: "carol",
		},
		Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonRevoked, Message: `revoked by "carol": enough`, LastTransitionTime: end},
			{Type: v1alpha1.ConditionRoleChanged, Reason: v1alpha1.ReasonRoleGrew, Message: "it allows more", LastTransitionTime: after(30)},
		},
	}
	word := func(name, who string, verdict v1alpha1.Verdict, at metav1.Time) v1alpha1.AccessDecision {
		d := *builders.Decision(name, req, verdict)
		d.UID, d.CreationTimestamp, d.Spec.Reviewer = types.UID("uid-of-"+name), at, &v1alpha1.Identity{Username: who}
		return d
	}
	other := word("of another", "mallory", v1alpha1.VerdictApprove, after(1))
	other.Spec.RequestRef.UID = "another"
	return req, []v1alpha1.AccessDecision{
		word("revoke", "carol", v1alpha1.VerdictRevoke, end), word("approve", "bob", v1alpha1.VerdictApprove, after(5)), other,
	}
}

func ids(records []Record) []string {
	out := make([]string, 0, len(records))
	for i := range records {
		out = append(out, records[i].ID)
	}
	return out
}

func TestAllThatHappenedIsToldInOrder(t *testing.T) {
	req, decisions := revoked()
	got := ids(Of("cluster", req, decisions))
	want := []string{
		"4602efc0/asked", "uid-of-approve/approved", "4602efc0/granted", "4602efc0/rolechanged/", "uid-of-revoke/revoked", "4602efc0/ended",
	}
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("record %d is %s, want %s", i, got[i], want[i])
		}
	}
	slices.Reverse(decisions)
	if again := ids(Of("cluster", req, decisions)); !slices.Equal(got, again) {
		t.Errorf("told again: %v, before: %v", again, got)
	}
}

func TestEachChangeOfARoleHasAnIDAndATimeOfItsOwn(t *testing.T) {
	req, _ := revoked()
	told := func(at metav1.Time, message string) Record {
		c := &req.Status.Conditions[1]
		c.LastTransitionTime, c.Message = at, message
		all := Of("cluster", req, nil)
		return all[slices.IndexFunc(all, func(r Record) bool { return r.Type == RoleChanged })]
	}
	first := told(after(30), "it allows more")
	if again := told(after(30), "it allows more"); again.ID != first.ID {
		t.Errorf("told again: %s, before: %s", again.ID, first.ID)
	}
	for name, next := range map[string]Record{
		"another change":               told(after(40), "it allows still more"),
		"the same after it was undone": told(after(50), "it allows more"),
	} {
		if next.ID == first.ID || !next.Time.After(first.Time) {
			t.Errorf("%s: %s at %s; the first: %s at %s", name, next.ID, next.Time, first.ID, first.Time)
		}
	}
}

func TestARefusalIsToldAndNoGrant(t *testing.T) {
	req, _ := revoked()
	req.Status.Grant, req.Status.State = nil, v1alpha1.StateDenied
	if got := ids(Of("cluster", req, nil)); !slices.Equal(got, []string{"4602efc0/asked", "4602efc0/refused"}) {
		t.Errorf("%v", got)
	}
	req.Status.State = v1alpha1.StatePending
	if got := ids(Of("cluster", req, nil)); !slices.Equal(got, []string{"4602efc0/asked"}) {
		t.Errorf("while it waits: %v", got)
	}
}

func TestAccessByARequestThatIsGoneIsOver(t *testing.T) {
	req, _ := revoked()
	at := after(90).Time
	if got := ids(Gone("cluster", req, at)); !slices.Equal(got, []string{"4602efc0/forgotten"}) {
		t.Errorf("after its end: %v", got)
	}
	req.Status.Grant.EndedAt, req.Status.Grant.EndReason = nil, ""
	got := Gone("cluster", req, at)
	if !slices.Equal(ids(got), []string{"4602efc0/ended", "4602efc0/forgotten"}) {
		t.Errorf("before its end: %v", ids(got))
	}
	if g := got[0].Data.Grant; !g.EndedAt.Equal(at) || g.EndReason != v1alpha1.ReasonRequestDeleted {
		t.Errorf("%+v", g)
	}
	if req.Status.Grant.EndedAt != nil {
		t.Error("the request was changed")
	}
}

func TestNothingThatPeopleWroteIsLeftWhenItIsRedacted(t *testing.T) {
	req, decisions := revoked()
	req.Spec.Reason, req.Status.Conditions[0].Message = "canary", `denied by "carol": canary`
	for i := range decisions {
		decisions[i].Spec.Comment = "canary"
	}
	for _, r := range append(Of("cluster", req, decisions), Gone("cluster", req, asked)...) {
		line, err := json.Marshal(r.Redacted())
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(line), "canary") {
			t.Errorf("%s", line)
		}
	}
}
