// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

func TestNothingIsGrantedUnlessAdmissionIsEnforced(t *testing.T) {
	for name, tc := range map[string]struct {
		admission Admission
		action    Action
		state     v1alpha1.RequestState
		reason    string
		says      string
	}{
		"nobody has looked: nothing, not even said": {Admission{}, Nothing, "", "", ""},
		"not enforced: waits, and says why": {
			Admission{Problem: "X is missing", Remedy: "do this"},
			Nothing, v1alpha1.StateFailed, v1alpha1.ReasonAdmissionNotEnforced,
			"nothing is granted until it is certain that the admission policies are in force: X is missing; do this",
		},
		"enforced: granted": {inForce, Create, v1alpha1.StateActive, v1alpha1.ReasonGranted, ""},
		"made in a gap that is over: refused": {
			gaps(Gap{From: noon.Add(-time.Minute), Until: noon.Add(1), Cause: "X was missing"}), Nothing, v1alpha1.StateDenied, v1alpha1.ReasonAdmissionGap,
			"the request was made between 2026-12-01T11:59:00Z and 2026-12-01T12:00:00Z, when it was not certain that the admission policies were in force (X was missing), so nothing proves what it says of itself; create it again",
		},
		"made in the second in which a gap began: refused": {
			gaps(Gap{From: noon.Add(900 * time.Millisecond), Until: noon.Add(time.Minute)}), Nothing, v1alpha1.StateDenied, v1alpha1.ReasonAdmissionGap, "",
		},
		"made in a gap that goes on: refused": {
			Admission{Problem: "X is missing", Gaps: []Gap{{From: noon, Cause: "X is missing"}}},
			Nothing, v1alpha1.StateDenied, v1alpha1.ReasonAdmissionGap,
			"the request was made after 2026-12-01T12:00:00Z",
		},
		"made before there were policies: refused": {
			gaps(Gap{Until: noon.Add(1)}), Nothing, v1alpha1.StateDenied, v1alpha1.ReasonAdmissionGap, "the request was made before 2026-12-01T12:00:00Z",
		},
		"made within the error of the clocks before a gap: refused": {gaps(Gap{From: noon.Add(clockError)}), Nothing, v1alpha1.StateDenied, v1alpha1.ReasonAdmissionGap, ""},
		"made when nobody knows since when it is one: refused":      {gaps(Gap{}), Nothing, v1alpha1.StateDenied, v1alpha1.ReasonAdmissionGap, "the request was made, when it was not certain"},
		"made before a gap: granted":                                {gaps(Gap{From: noon.Add(clockError + time.Second)}), Create, v1alpha1.StateActive, v1alpha1.ReasonGranted, ""},
		"made when it is over: granted":                             {gaps(Gap{Until: noon}), Create, v1alpha1.StateActive, v1alpha1.ReasonGranted, ""},
	} {
		t.Run(name, func(t *testing.T) {
			step := next(t, noon, request(), allows, Observed{Admission: tc.admission})
			check(t, step, tc.action, tc.state, tc.reason)
			if tc.says != "" && !strings.HasPrefix(step.Outcome.Message, tc.says) {
				t.Errorf("message = %q, want %q", step.Outcome.Message, tc.says)
			}
		})
	}
}

func gaps(g ...Gap) Admission { return Admission{Enforced: true, Gaps: g} }

func TestAnApprovalFromAGapDoesNotCountAndADenialDoes(t *testing.T) {
	wanting := allows
	wanting.Approvals = []v1alpha1.ApprovalRule{{From: []v1alpha1.Subject{{Kind: v1alpha1.UserKind, Name: "carol"}}, Count: 1}}
	wanting.ApprovalTimeout = time.Hour
	gap := gaps(Gap{From: noon.Add(10 * time.Minute), Until: noon.Add(20 * time.Minute)})
	for name, tc := range map[string]struct {
		at      time.Duration
		verdict v1alpha1.Verdict
		state   v1alpha1.RequestState
		reason  string
	}{
		"an approval before it counts": {9 * time.Minute, v1alpha1.VerdictApprove, v1alpha1.StateActive, v1alpha1.ReasonGranted},
		"an approval in it does not":   {15 * time.Minute, v1alpha1.VerdictApprove, v1alpha1.StatePending, v1alpha1.ReasonPendingApproval},
		"an approval after it counts":  {21 * time.Minute, v1alpha1.VerdictApprove, v1alpha1.StateActive, v1alpha1.ReasonGranted},
		"a denial in it counts":        {15 * time.Minute, v1alpha1.VerdictDeny, v1alpha1.StateDenied, v1alpha1.ReasonDenied},
	} {
		t.Run(name, func(t *testing.T) {
			req := request()
			d := decided("carol", tc.verdict)
			d.CreationTimestamp = metav1.NewTime(noon.Add(tc.at))
			j := judge(wanting)
			j.MayEnd = func(string, *v1alpha1.Identity) (bool, error) { return true, nil }
			step, err := Next(noon.Add(30*time.Minute), req, j, Observed{Admission: gap, Decisions: []v1alpha1.AccessDecision{d}}, settings)
			if err != nil || step.Outcome == nil || step.Outcome.State != tc.state || step.Outcome.Reason != tc.reason {
				t.Fatalf("step = %+v, err = %v, want %s/%s", step.Outcome, err, tc.state, tc.reason)
			}
		})
	}
}

func TestAdmissionDoesNotDelayAnEnd(t *testing.T) {
	req, b := active(t)
	open := Admission{Problem: "X is missing", Gaps: []Gap{{}}}
	check(t, next(t, noon.Add(10*time.Minute), req, allows, Observed{Admission: open, Binding: b}), Delete, v1alpha1.StateExpired, v1alpha1.ReasonExpired)
	check(t, next(t, noon.Add(time.Minute), req, allows, Observed{Admission: open, Binding: b}), Nothing, "", "")
}

// looks is a record of looks, by the minute since noon.
type looks struct {
	record AdmissionRecord
	now    time.Time
}

func newLooks() *looks { return &looks{record: AdmissionRecord{Settle: SettleAfter}} }

func (l *looks) at(after time.Duration, look Look) Admission {
	l.now = noon.Add(after)
	l.record.Observe(l.now, look)
	return l.record.Admission(l.now)
}

var (
	long    = noon.Add(-time.Hour)
	good    = Look{Objects: "a1 b1", Newest: long}
	missing = Look{Objects: "b1", Newest: long, Problem: "a is missing"}
	unsure  = Look{Unsure: true, Problem: "no answer"}
)

// want compares what is known, but for the gap before the policies were there.
func want(t *testing.T, a Admission, enforced bool, gaps ...Gap) {
	t.Helper()
	if a.Enforced != enforced || a.Enforced == (a.Problem != "") {
		t.Errorf("enforced = %t (%q), want %t", a.Enforced, a.Problem, enforced)
	}
	first := Gap{Until: long.Add(SettleAfter), Cause: "the admission policies were put in place only then"}
	if len(a.Gaps) > 0 && a.Gaps[0] == first {
		a.Gaps = a.Gaps[1:]
	}
	if fmt.Sprint(a.Gaps) != fmt.Sprint(gaps) {
		t.Errorf("gaps = %v, want %v", a.Gaps, gaps)
	}
}

func TestAdmissionRecord(t *testing.T) {
	t.Run("nobody has looked: not enforced, and no reason is given", func(t *testing.T) {
		if a := (&AdmissionRecord{}).Admission(noon); a.Enforced || a.Problem != "" {
			t.Errorf("admission = %+v", a)
		}
	})
	t.Run("policies that were there count at once", func(t *testing.T) {
		l := newLooks()
		a := l.at(0, good)
		want(t, a, true)
		if gap := a.gap(metav1.NewTime(long)); gap == nil {
			t.Error("a request that was made when the policies were is not refused")
		}
	})
	t.Run("policies that were put in place a moment ago settle first", func(t *testing.T) {
		l, fresh := newLooks(), Look{Objects: "a1", Newest: noon}
		want(t, l.at(SettleAfter-time.Millisecond, fresh), false)
		want(t, l.at(SettleAfter, fresh), true, Gap{Until: noon.Add(SettleAfter), Cause: "the admission policies were put in place only then"})
	})
	t.Run("a policy that goes opens a gap from the last good look until it is back and has settled", func(t *testing.T) {
		l := newLooks()
		l.at(0, good)
		l.at(time.Minute, good)
		want(t, l.at(90*time.Second, missing), false, Gap{From: noon.Add(time.Minute), Cause: "a is missing"})
		back := Look{Objects: "a2 b1", Newest: noon.Add(2 * time.Minute)}
		want(t, l.at(2*time.Minute, back), false, Gap{From: noon.Add(time.Minute), Cause: "a is missing"})
		want(t, l.at(2*time.Minute+SettleAfter, back), true, Gap{From: noon.Add(time.Minute), Until: noon.Add(2*time.Minute + SettleAfter), Cause: "a is missing"})
	})
	t.Run("a change and back between two looks is a gap", func(t *testing.T) {
		l := newLooks()
		l.at(0, good)
		again := Look{Objects: "a3 b1", Newest: long}
		want(t, l.at(time.Minute, again), false, Gap{From: noon, Cause: "the admission policies were changed"})
		want(t, l.at(time.Minute+SettleAfter, again), true, Gap{From: noon, Until: noon.Add(time.Minute + SettleAfter), Cause: "the admission policies were changed"})
	})
	t.Run("no answer grants nothing and is no gap, as nothing changed meanwhile", func(t *testing.T) {
		l := newLooks()
		l.at(0, good)
		want(t, l.at(time.Minute, unsure), false)
		want(t, l.at(2*time.Minute, good), true)
	})
	t.Run("no answer while a policy is missing forgets nothing", func(t *testing.T) {
		l := newLooks()
		l.at(0, good)
		l.at(time.Minute, missing)
		want(t, l.at(2*time.Minute, unsure), false, Gap{From: noon, Cause: "a is missing"})
	})
	t.Run("policies that were missing at the first look: nobody knows since when", func(t *testing.T) {
		l := newLooks()
		want(t, l.at(0, missing), false, Gap{Cause: "a is missing"})
		l.at(time.Minute, good)
		want(t, l.at(time.Minute+SettleAfter, good), true, Gap{Until: noon.Add(time.Minute + SettleAfter), Cause: "a is missing"})
	})
	t.Run("an old look does not count", func(t *testing.T) {
		l := newLooks()
		l.at(0, good)
		want(t, l.record.Admission(noon.Add(staleAfter)), true)
		want(t, l.record.Admission(noon.Add(staleAfter+1)), false)
	})
}

func TestManyGapsBecomeFewAndNeverLessIsRefused(t *testing.T) {
	l := newLooks()
	for i := range 100 {
		l.at(time.Duration(2*i)*time.Minute, missing)
		l.at(time.Duration(2*i)*time.Minute+time.Second, good)
		l.at(time.Duration(2*i)*time.Minute+time.Second+SettleAfter, good)
	}
	a := l.record.Admission(l.now)
	if len(a.Gaps) != maxGaps {
		t.Errorf("%d gaps", len(a.Gaps))
	}
	for i := range 100 {
		if at := noon.Add(time.Duration(2*i)*time.Minute + time.Second); a.gap(metav1.NewTime(at)) == nil {
			t.Errorf("a request made at %s is not refused", at)
		}
	}
}
