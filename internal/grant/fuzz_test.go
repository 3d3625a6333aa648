// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
)

// FuzzUnrecorded: whatever the annotations of a binding say that status does not know,
// nothing is recorded that lasts longer than was allowed from its creation on, and what
// is said is for a person to read.
func FuzzUnrecorded(f *testing.F) {
	f.Add("2026-12-01T12:10:00Z", "2026-12-01T12:00:10Z", "oncall", uint16(60), false)
	f.Add("2026-12-01T12:11:00Z", "2026-12-01T12:00:10Z", "oncall", uint16(60), false)
	f.Add("2026-12-01T12:10:10Z", "2026-12-01T12:00:20Z", "oncall", uint16(60), false)
	f.Add("2026-12-01T12:10:00Z", "2026-12-01T12:00:10Z", "onc\x1b[2Jall", uint16(60), false)
	f.Add("2026-12-01T12:10:00Z", "2026-12-01T12:00:10Z", "oncall", uint16(600), true)
	f.Add("9999-12-01T12:10:00Z", "9999-12-01T12:10:00Z", "", uint16(0), false)
	f.Add("", "", "", uint16(0), true)
	f.Fuzz(func(t *testing.T, expires, createBy, policy string, seconds uint16, emptied bool) {
		req, b := active(t)
		req.Status = v1alpha1.AccessRequestStatus{}
		b.Annotations[v1alpha1.ExpiresAtAnnotation], b.Annotations[v1alpha1.CreateByAnnotation] = expires, createBy
		b.Annotations[v1alpha1.PolicyAnnotation] = policy
		if emptied {
			b.Subjects = nil
		}
		now := noon.Add(time.Duration(seconds) * time.Second)
		step := next(t, now, req, allows, Observed{Admission: inForce, Binding: b})
		wantLegible(t, step)
		if step.Action == Create || step.Action == Delete {
			t.Fatalf("action = %s", step.Action)
		}
		if g := step.Outcome.Grant; step.Outcome.State == v1alpha1.StateActive {
			if emptied || !now.Before(g.ExpiresAt.Time) || g.ExpiresAt.After(noon.Add(allows.Duration+binding.CreateWindow)) {
				t.Errorf("at %s %+v is recorded as active", now, g)
			}
		} else if g != nil && g.ExpiresAt.After(noon.Add(settings.MaxDuration+binding.MaxSkew)) {
			t.Errorf("a grant until %s is recorded", g.ExpiresAt)
		}
	})
}

// FuzzDecision: whatever a decision says, only requester and grantee give access back,
// only whom the policy lets may end it, an approval ends nothing, and what is said is
// for a person to read.
func FuzzDecision(f *testing.F) {
	f.Add("Revoke", "alice", "", "enough", "6f1c2d3e-0000", "debug", "payments", true)
	f.Add("Deny", "carol", "", "no\x1b[31m\nnever", "6f1c2d3e-0000", "debug", "payments", true)
	f.Add("Approve", "alice", "", "", "6f1c2d3e-0000", "debug", "payments", false)
	f.Add("Revoke", "eve", "oncall", "\u202egnp.exe", "6f1c2d3e-0000", "debug", "payments", false)
	f.Add("", "", "", "", "", "", "", false)
	f.Fuzz(func(t *testing.T, verdict, who, group, comment, uid, name, namespace string, recorded bool) {
		d := v1alpha1.AccessDecision{Spec: v1alpha1.AccessDecisionSpec{
			RequestRef: v1alpha1.RequestReference{Name: name, UID: types.UID(uid)}, Verdict: v1alpha1.Verdict(verdict),
			Comment: comment, Reviewer: &v1alpha1.Identity{Username: who, Groups: []string{group}},
		}}
		d.Namespace, d.CreationTimestamp = namespace, metav1.NewTime(noon)
		req, b := active(t)
		if !recorded {
			req.Status, b = v1alpha1.AccessRequestStatus{}, nil
		}
		j := judge(allows)
		j.MayEnd = func(_ string, who *v1alpha1.Identity) (bool, error) { return who.Username == "carol", nil }
		step, err := Next(noon, req, j, Observed{Admission: inForce, Binding: b, Decisions: []v1alpha1.AccessDecision{d}}, settings)
		if err != nil {
			t.Fatal(err)
		}
		wantLegible(t, step)
		on := []string{uid, name, namespace}
		returns, stops := false, false
		if slices.Equal(on, []string{"6f1c2d3e-0000", "debug", "payments"}) {
			returns = who == "alice" && verdict != "Approve"
			stops = who == "carol" && verdict != "Approve"
		}
		final := step.Outcome != nil && step.Outcome.State.Final()
		if final != (returns || stops) {
			t.Errorf("ends = %v, want %v: %+v", final, returns || stops, step.Outcome)
		}
		if final && (step.Outcome.State == v1alpha1.StateReturned) != returns {
			t.Errorf("state = %s", step.Outcome.State)
		}
	})
}

// FuzzServerMessage: what an API server answers is bounded, and for a person to read.
func FuzzServerMessage(f *testing.F) {
	f.Add("admission webhook denied the request")
	f.Add(strings.Repeat("ä", 600))
	f.Add("\x1b[2J\r\n\x00\u200b\xff")
	f.Add("\x00\xe6\u200c\x8c")
	f.Fuzz(func(t *testing.T, text string) {
		step := next(t, noon, request(), allows, Observed{Admission: inForce})
		o := BindFailed(step.Outcome, errors.New(text))
		wantLegible(t, Step{Outcome: o})
		if len(o.Message) > 1024+100 {
			t.Errorf("a message of %d bytes", len(o.Message))
		}
	})
}

// wantLegible fails when a terminal could not show what is said as it is.
func wantLegible(t *testing.T, step Step) {
	t.Helper()
	if step.Outcome == nil {
		return
	}
	message := step.Outcome.Message
	// What joins letters, or picks the form of an emoji, passes where there is one.
	illegible := func(r rune) bool { return !unicode.IsPrint(r) && !strings.ContainsRune("\n\u200c\u200d\ufe0f", r) }
	if !utf8.ValidString(message) || strings.ContainsFunc(message, illegible) {
		t.Errorf("message = %q", message)
	}
}
