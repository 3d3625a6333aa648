// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

// A request that was approved, granted and revoked.
func settled() State {
	at := func(second int) metav1.Time {
		return metav1.NewTime(time.Date(2026, 11, 29, 6, 0, second, 0, time.UTC))
	}
	req := builders.Request("debug").In("payments").By("alice").Build()
	req.UID, req.CreationTimestamp = "r", at(1)
	end := at(9)
	req.Status.State = v1alpha1.StateRevoked
	req.Status.Grant = &v1alpha1.Grant{Binding: "lapse-debug-r", GrantedAt: at(3), ExpiresAt: at(60), EndedAt: &end}
	req.Status.Approvals = []v1alpha1.Approval{{Decision: "yes", Reviewer: "bob", Time: at(2)}}
	yes, no := builders.Decision("yes", req, v1alpha1.VerdictApprove), builders.Decision("no", req, v1alpha1.VerdictRevoke)
	yes.UID, yes.CreationTimestamp = "y", at(2)
	no.UID, no.CreationTimestamp = "n", at(8)
	return State{Requests: []v1alpha1.AccessRequest{*req}, Decisions: []v1alpha1.AccessDecision{*no, *yes}}
}

// tells are records, each given as its writer, its ID, and the end of its type.
func tells(records ...string) []*Told {
	out := make([]*Told, 0, len(records))
	for _, r := range records {
		part := strings.Fields(r)
		line := fmt.Sprintf(`{"lapsewriter":%q,"id":%q,"type":"dev.lapse.%s.v1","time":"2026-11-29T06:00:00Z","data":{"request":{"uid":"r"}}}`,
			part[0], part[1], part[2])
		out = append(out, ParseTold([]byte(line)))
	}
	return out
}

func TestUntold(t *testing.T) {
	const (
		asked, approved, granted = "a r/asked request.asked", "a y/approved decision.approved", "a r/granted access.granted"
		revoked, ended           = "a n/revoked decision.revoked", "a r/ended access.ended"
	)
	by := func(writer, record string) string { return writer + record[1:] }
	for name, tc := range map[string]struct {
		told []string
		want string
	}{
		"all of it": {[]string{asked, approved, granted, revoked, ended}, ""},
		"again, by who led then": {
			[]string{asked, approved, by("b", asked), by("b", approved), by("b", granted), by("b", revoked), by("b", ended)}, "",
		},
		"a word before access began": {[]string{asked, approved, revoked, granted, ended}, ""},
		"nothing":                    {nil, "r/asked was never told"},
		"no end":                     {[]string{asked, approved, granted, revoked}, "r/ended was never told"},
		"no approval":                {[]string{asked, granted, revoked, ended}, "y/approved was never told"},
		"granted before the approval that counted": {
			[]string{asked, granted, approved, revoked, ended}, "r/granted was told before y/approved",
		},
		"ended before it was revoked": {[]string{asked, approved, granted, ended, revoked}, "r/ended was told before n/revoked"},
		"ended before it was granted": {[]string{asked, approved, revoked, ended, granted}, "r/ended was told before r/granted"},
		"asked last":                  {[]string{approved, granted, revoked, ended, asked}, "y/approved was told before r/asked"},
		"twice by one writer":         {[]string{asked, asked, approved, granted, revoked, ended}, "r/asked was told twice by writer a"},
		"what did not happen": {
			[]string{asked, approved, granted, revoked, ended, "a r/refused request.refused"},
			"r/refused, dev.lapse.request.refused.v1, was told and did not happen",
		},
		"another thing under its ID": {
			[]string{asked, approved, granted, revoked, "a r/ended request.refused"},
			"r/ended, dev.lapse.request.refused.v1, was told and did not happen",
		},
		"another thing when told again": {
			[]string{asked, approved, granted, revoked, ended, "b r/ended access.granted"}, "r/ended says something else",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := Untold(tells(tc.told...), settled())
			if tc.want == "" && len(got) > 0 {
				t.Errorf("found %v", got)
			}
			if !slices.ContainsFunc(got, func(v Violation) bool { return strings.Contains(v.Text, tc.want) }) && tc.want != "" {
				t.Errorf("%q is not among %v", tc.want, got)
			}
		})
	}
}

func TestARefusalIsToldAfterWhatWasSaidBefore(t *testing.T) {
	s := settled()
	req := &s.Requests[0]
	req.Status.Grant, req.Status.Approvals, req.Status.State = nil, nil, v1alpha1.StateDenied
	at := metav1.NewTime(time.Date(2026, 11, 29, 6, 0, 9, 0, time.UTC))
	req.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, LastTransitionTime: at}}
	asked, yes, no := "a r/asked request.asked", "a y/approved decision.approved", "a n/revoked decision.revoked"
	refused := "a r/refused request.refused"
	if got := Untold(tells(asked, yes, no, refused), s); len(got) > 0 {
		t.Errorf("found %v", got)
	}
	if got := Untold(tells(asked, refused, yes, no), s); len(got) != 2 {
		t.Errorf("found %v", got)
	}
	// Who speaks when it is over is told whenever he is heard.
	s.Decisions[0].CreationTimestamp = metav1.NewTime(at.Add(time.Second))
	if got := Untold(tells(asked, yes, refused, no), s); len(got) > 0 {
		t.Errorf("found %v", got)
	}
}

func TestWhatIsNoRecordOfARequestIsPassedOver(t *testing.T) {
	for _, line := range []string{"", "{", `{"type":"dev.lapse.writer.began.v1","data":{}}`, `{"id":"r/asked","data":{"requ`} {
		if told := ParseTold([]byte(line)); told != nil {
			t.Errorf("%q: %+v", line, told)
		}
	}
}
