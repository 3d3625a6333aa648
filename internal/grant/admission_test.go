// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/admission"
)

func TestNothingIsGrantedUnlessAdmissionIsEnforced(t *testing.T) {
	for name, tc := range map[string]struct {
		admission admission.State
		action    Action
		state     v1alpha1.RequestState
		reason    string
		says      string
	}{
		"nobody has looked: nothing, not even said": {admission.State{}, Nothing, "", "", ""},
		"not enforced: waits, and says why": {
			admission.State{Problem: "X is missing", Remedy: "do this"},
			Nothing, v1alpha1.StateFailed, v1alpha1.ReasonAdmissionNotEnforced,
			"nothing is granted until it is certain that the admission policies are in force: X is missing; do this",
		},
		"enforced: granted": {inForce, Create, v1alpha1.StateActive, v1alpha1.ReasonGranted, ""},
		"made in a gap that is over: refused": {
			gaps(admission.Gap{From: noon.Add(-time.Minute), Until: noon.Add(1), Cause: "X was missing"}), Nothing, v1alpha1.StateDenied,
			v1alpha1.ReasonAdmissionGap,
			"the request was made between 2026-12-01T11:59:00Z and 2026-12-01T12:00:00Z, when it was not certain that the admission policies were " +
				"in force (X was missing), so nothing proves what it says of itself; create it again",
		},
		"made in the second in which a gap began: refused": {
			gaps(admission.Gap{From: noon.Add(900 * time.Millisecond), Until: noon.Add(time.Minute)}), Nothing, v1alpha1.StateDenied,
			v1alpha1.ReasonAdmissionGap, "",
		},
		"made in a gap that goes on: refused": {
			admission.State{Problem: "X is missing", Gaps: []admission.Gap{{From: noon, Cause: "X is missing"}}},
			Nothing, v1alpha1.StateDenied, v1alpha1.ReasonAdmissionGap,
			"the request was made after 2026-12-01T12:00:00Z",
		},
		"made before there were policies: refused": {
			gaps(admission.Gap{Until: noon.Add(1)}), Nothing, v1alpha1.StateDenied, v1alpha1.ReasonAdmissionGap,
			"the request was made before 2026-12-01T12:00:00Z",
		},
		"made within the error of the clocks before a gap: refused": {
			gaps(admission.Gap{From: noon.Add(admission.ClockError)}), Nothing, v1alpha1.StateDenied, v1alpha1.ReasonAdmissionGap, "",
		},
		"made when nobody knows since when it is one: refused": {
			gaps(admission.Gap{}), Nothing, v1alpha1.StateDenied, v1alpha1.ReasonAdmissionGap, "the request was made, when it was not certain",
		},
		"made before a gap: granted": {
			gaps(admission.Gap{From: noon.Add(admission.ClockError + time.Second)}), Create, v1alpha1.StateActive, v1alpha1.ReasonGranted, "",
		},
		"made when it is over: granted": {
			gaps(admission.Gap{Until: noon}), Create, v1alpha1.StateActive, v1alpha1.ReasonGranted, "",
		},
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

func gaps(g ...admission.Gap) admission.State { return admission.State{Enforced: true, Gaps: g} }

// doubtful is a gap that goes on, of which nobody knows yet whether it is one.
var doubtful = admission.State{
	Problem: "X is not what this version ships", Remedy: "do this",
	Gaps: []admission.Gap{{From: noon, Cause: "X is not what this version ships", Doubtful: true}},
}

func TestWhatWasMadeInADoubtfulGapWaits(t *testing.T) {
	step := next(t, noon, request(), allows, Observed{Admission: doubtful})
	check(t, step, Nothing, v1alpha1.StateFailed, v1alpha1.ReasonAdmissionNotEnforced)
	if want := "X is not what this version ships; do this"; !strings.HasSuffix(step.Outcome.Message, want) {
		t.Errorf("message = %q, want %q", step.Outcome.Message, want)
	}
	waits := request()
	waits.Status.State = v1alpha1.StatePending
	step = next(t, noon, waits, allows, Observed{Admission: doubtful})
	check(t, step, Nothing, "", "")
	if want := noon.Add(RetryAfter); !step.After.Equal(want) {
		t.Errorf("it is looked at again at %s, want %s: it may be certain then", step.After, want)
	}
}

// Its time runs out meanwhile.
func TestAnApprovalInADoubtfulGapIsNotLost(t *testing.T) {
	wanting := allows
	wanting.Approvals = []v1alpha1.ApprovalRule{{From: []v1alpha1.Subject{{Kind: v1alpha1.UserKind, Name: "carol"}}, Count: 1}}
	wanting.ApprovalTimeout = time.Hour
	d := decided("carol", v1alpha1.VerdictApprove)
	d.CreationTimestamp = metav1.NewTime(noon.Add(50 * time.Minute))
	doubt := admission.State{Problem: "X", Gaps: []admission.Gap{{From: noon.Add(49 * time.Minute), Cause: "X", Doubtful: true}}}
	seen := Observed{Admission: doubt, Decisions: []v1alpha1.AccessDecision{d}}
	check(t, next(t, noon.Add(61*time.Minute), request(), wanting, seen), Nothing, "", "")
	seen.Admission = inForce
	check(t, next(t, noon.Add(61*time.Minute), request(), wanting, seen), Create, v1alpha1.StateActive, v1alpha1.ReasonGranted)
}

func TestNoMoreWaitInADoubtfulGapThanMayOtherwise(t *testing.T) {
	seen := Observed{Admission: doubtful, Waiting: MaxWaiting}
	step := next(t, noon, request(), allows, seen)
	if got := OneTooMany(request(), seen, step.Outcome); got.Reason != v1alpha1.ReasonDenied {
		t.Errorf("%+v", got)
	}
}

func TestAnApprovalFromAGapDoesNotCountAndADenialDoes(t *testing.T) {
	wanting := allows
	wanting.Approvals = []v1alpha1.ApprovalRule{{From: []v1alpha1.Subject{{Kind: v1alpha1.UserKind, Name: "carol"}}, Count: 1}}
	wanting.ApprovalTimeout = time.Hour
	gap := gaps(admission.Gap{From: noon.Add(10 * time.Minute), Until: noon.Add(20 * time.Minute)})
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
	open := admission.State{Problem: "X is missing", Gaps: []admission.Gap{{}}}
	check(t, next(t, noon.Add(10*time.Minute), req, allows, Observed{Admission: open, Binding: b}), Delete, v1alpha1.StateExpired,
		v1alpha1.ReasonExpired)
	check(t, next(t, noon.Add(time.Minute), req, allows, Observed{Admission: open, Binding: b}), Nothing, "", "")
}
