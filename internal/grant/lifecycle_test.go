// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"errors"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/admission"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/text"
	"github.com/lapse-dev/lapse/test/builders"
)

var (
	noon     = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	inForce  = admission.State{Enforced: true}
	settings = Settings{MaxDuration: 24 * time.Hour, Retention: 30 * 24 * time.Hour}
	allows   = policy.Decision{
		Verdict: policy.Allowed, Duration: 10 * time.Minute,
		Policy: &v1alpha1.PolicyReference{Name: "oncall", UID: "p1", Generation: 1},
	}
)

// request of alice, made at noon.
func request() *v1alpha1.AccessRequest {
	req := builders.Request("debug").In("payments").By("alice").Build()
	req.UID, req.Generation, req.CreationTimestamp = "6f1c2d3e-0000", 1, metav1.NewTime(noon)
	return req
}

// active is a request that was granted at noon, and its binding.
func active(t *testing.T) (*v1alpha1.AccessRequest, *rbacv1.RoleBinding) {
	t.Helper()
	req := request()
	step := next(t, noon, req, allows, Observed{Admission: inForce})
	if step.Action != Create {
		t.Fatalf("action = %s, want Create", step.Action)
	}
	o := step.Outcome
	req.Status = v1alpha1.AccessRequestStatus{State: o.State, Policy: o.Policy, Grant: o.Grant}
	b := step.Binding.DeepCopy()
	b.UID, b.CreationTimestamp = "b1", metav1.NewTime(noon)
	return req, b
}

func judge(d policy.Decision, objections ...string) Judge {
	return Judge{
		Decide:     func() (policy.Decision, error) { return d, nil },
		Objections: func(v1alpha1.Grant) ([]string, error) { return objections, nil },
		MayEnd:     func(string, *v1alpha1.Identity) (bool, error) { return false, nil },
		RoleChange: func(v1alpha1.Grant) (policy.RoleChange, error) { return policy.RoleChange{}, nil },
	}
}

func next(t *testing.T, now time.Time, req *v1alpha1.AccessRequest, d policy.Decision, seen Observed, objections ...string) Step {
	t.Helper()
	step, err := Next(now, req, judge(d, objections...), seen, settings)
	if err != nil {
		t.Fatal(err)
	}
	return step
}

func TestABindingSaysWhatItsHolderMayMake(t *testing.T) {
	for what, want := range map[v1alpha1.WhileHeld]string{"": "", v1alpha1.WhileHeldStrict: "", v1alpha1.WhileHeldNoNewPower: "NoNewPower"} {
		d := allows
		d.WhileHeld = what
		step := next(t, noon, request(), d, Observed{Admission: inForce})
		if got := step.Binding.Labels[v1alpha1.WhileHeldLabel]; got != want {
			t.Errorf("%q: %s = %q, want %q", what, v1alpha1.WhileHeldLabel, got, want)
		}
	}
}

func TestUndecidedRequest(t *testing.T) {
	pending := allows
	pending.Approvals = []v1alpha1.ApprovalRule{{Count: 1}}
	pending.ApprovalTimeout = time.Hour
	for name, tc := range map[string]struct {
		decision policy.Decision
		change   func(*v1alpha1.AccessRequest)
		seen     Observed
		now      time.Time
		action   Action
		state    v1alpha1.RequestState
		reason   string
		after    time.Time
	}{
		"allowed: granted": {
			decision: allows, seen: Observed{Admission: inForce}, action: Create, state: v1alpha1.StateActive, reason: v1alpha1.ReasonGranted,
			after: noon.Add(10*time.Minute + backstop),
		},
		"a zero decision is never a yes": {decision: policy.Decision{}, reason: "error"},
		"denied: final, and nothing is created": {
			decision: policy.Decision{Verdict: policy.Denied}, action: Nothing, state: v1alpha1.StateDenied, reason: v1alpha1.ReasonDenied,
		},
		"no policy: final": {
			decision: policy.Decision{Verdict: policy.NoMatchingPolicy}, action: Nothing, state: v1alpha1.StateDenied,
			reason: v1alpha1.ReasonNoMatchingPolicy,
		},
		"role missing: tried again": {
			decision: policy.Decision{Verdict: policy.RoleMissing, Policy: allows.Policy}, action: Nothing,
			state: v1alpha1.StateFailed, reason: v1alpha1.ReasonRoleNotFound,
		},
		"role empty: tried again": {
			decision: policy.Decision{Verdict: policy.RoleEmpty, Policy: allows.Policy}, action: Nothing,
			state: v1alpha1.StateFailed, reason: v1alpha1.ReasonRoleEmpty,
		},
		"approvals are wanted: waits, until the timeout": {
			decision: pending, action: Nothing, state: v1alpha1.StatePending, reason: v1alpha1.ReasonPendingApproval, after: noon.Add(time.Hour),
		},
		"approvals one second before the timeout: still waits": {
			decision: pending, now: noon.Add(time.Hour - time.Second), action: Nothing,
			state: v1alpha1.StatePending, reason: v1alpha1.ReasonPendingApproval, after: noon.Add(time.Hour),
		},
		"approvals at the timeout: denied": {
			decision: pending, now: noon.Add(time.Hour), action: Nothing, state: v1alpha1.StateDenied, reason: v1alpha1.ReasonApprovalTimedOut,
		},
		"one second before notBefore: scheduled": {
			decision: allows, change: notBefore(noon.Add(time.Second)), action: Nothing,
			state: v1alpha1.StateScheduled, reason: v1alpha1.ReasonScheduled, after: noon.Add(time.Second),
		},
		"at notBefore: granted": {
			decision: allows, seen: Observed{Admission: inForce}, change: notBefore(noon), action: Create,
			state: v1alpha1.StateActive, reason: v1alpha1.ReasonGranted, after: noon.Add(10*time.Minute + backstop),
		},
		"clocks 30s apart: granted": {
			decision: allows, seen: Observed{Admission: inForce, Skew: -binding.MaxSkew}, action: Create,
			state: v1alpha1.StateActive, reason: v1alpha1.ReasonGranted, after: noon.Add(10*time.Minute + backstop),
		},
		"clocks more than 30s apart: not granted": {
			decision: allows, seen: Observed{Admission: inForce, Skew: -binding.MaxSkew - time.Second}, action: Nothing,
			state: v1alpha1.StateFailed, reason: v1alpha1.ReasonClockSkew,
		},
		"being deleted: nothing": {decision: allows, change: deleted, action: Nothing},
		"no requester: denied": {
			decision: allows, change: func(r *v1alpha1.AccessRequest) { r.Spec.Requester = nil }, action: Nothing,
			state: v1alpha1.StateDenied, reason: v1alpha1.ReasonDenied,
		},
	} {
		t.Run(name, func(t *testing.T) {
			req := request()
			if tc.change != nil {
				tc.change(req)
			}
			if tc.now.IsZero() {
				tc.now = noon
			}
			step, err := Next(tc.now, req, judge(tc.decision), tc.seen, settings)
			if (err != nil) != (tc.reason == "error") {
				t.Fatalf("err = %v", err)
			}
			if err == nil {
				check(t, step, tc.action, tc.state, tc.reason)
				if !step.After.Equal(tc.after) {
					t.Errorf("after = %s, want %s", step.After, tc.after)
				}
			}
		})
	}
}

func emptied(b *rbacv1.RoleBinding) { b.Subjects = nil }

func TestRecordedGrant(t *testing.T) {
	end := noon.Add(10 * time.Minute)
	for name, tc := range map[string]struct {
		now        time.Time
		request    func(*v1alpha1.AccessRequest)
		binding    func(*rbacv1.RoleBinding)
		gone       bool
		objections []string
		action     Action
		state      v1alpha1.RequestState
		reason     string
	}{
		"one second before the deadline: kept": {now: end.Add(-time.Second), action: Nothing},
		"at the deadline: ended":               {now: end, action: Delete, state: v1alpha1.StateExpired, reason: v1alpha1.ReasonExpired},
		"at the deadline, binding gone: recorded": {
			now: end, gone: true, action: Delete, state: v1alpha1.StateExpired, reason: v1alpha1.ReasonExpired,
		},
		"being deleted: ended": {
			now: noon, request: deleted, action: Delete, state: v1alpha1.StateRevoked, reason: v1alpha1.ReasonRevoked,
		},
		"binding deleted by somebody: stays ended": {
			now: noon, gone: true, action: Delete, state: v1alpha1.StateRevoked, reason: v1alpha1.ReasonRevoked,
		},
		"binding terminating: ended": {
			now: noon, binding: func(b *rbacv1.RoleBinding) { b.DeletionTimestamp = &metav1.Time{Time: noon} }, action: Delete,
			state: v1alpha1.StateRevoked, reason: v1alpha1.ReasonRevoked,
		},
		"subject added: tampered": {now: noon, binding: func(b *rbacv1.RoleBinding) {
			b.Subjects = append(b.Subjects, rbacv1.Subject{Kind: "User", Name: "eve"})
		}, action: Delete, state: v1alpha1.StateRevoked, reason: v1alpha1.ReasonTampered},
		"subject changed: tampered": {
			now: noon, binding: func(b *rbacv1.RoleBinding) { b.Subjects[0].Name = "eve" }, action: Delete,
			state: v1alpha1.StateRevoked, reason: v1alpha1.ReasonTampered,
		},
		"role changed: tampered": {
			now: noon, binding: func(b *rbacv1.RoleBinding) { b.RoleRef.Name = "admin" }, action: Delete,
			state: v1alpha1.StateRevoked, reason: v1alpha1.ReasonTampered,
		},
		"expiry put off: tampered": {
			now: noon, binding: expiring(text.Time(end.Add(time.Hour))), action: Delete, state: v1alpha1.StateRevoked,
			reason: v1alpha1.ReasonTampered,
		},
		"expiry removed: tampered": {
			now: noon, binding: expiring(""), action: Delete, state: v1alpha1.StateRevoked, reason: v1alpha1.ReasonTampered,
		},
		"labels removed: tampered": {
			now: noon, binding: func(b *rbacv1.RoleBinding) { b.Labels = nil }, action: Delete,
			state: v1alpha1.StateRevoked, reason: v1alpha1.ReasonTampered,
		},
		"finalizer added: tampered": {
			now: noon, binding: func(b *rbacv1.RoleBinding) { b.Finalizers = []string{"x/y"} }, action: Delete,
			state: v1alpha1.StateRevoked, reason: v1alpha1.ReasonTampered,
		},
		"owner added: tampered": {now: noon, binding: func(b *rbacv1.RoleBinding) {
			b.OwnerReferences = append(b.OwnerReferences, metav1.OwnerReference{UID: "x"})
		}, action: Delete, state: v1alpha1.StateRevoked, reason: v1alpha1.ReasonTampered},
		"emptied: tampered": {
			now: noon, binding: emptied, action: Delete, state: v1alpha1.StateRevoked, reason: v1alpha1.ReasonTampered,
		},
		"emptied, and policy objects: withdrawn": {
			now: noon, binding: emptied, objections: []string{"it was deleted"}, action: Delete,
			state: v1alpha1.StateRevoked, reason: v1alpha1.ReasonPolicyWithdrawn,
		},
		"a label of somebody else: kept": {now: noon, binding: func(b *rbacv1.RoleBinding) { b.Labels["x"] = "y" }, action: Nothing},
		"policy objects: withdrawn": {
			now: noon, objections: []string{"it was deleted"}, action: Delete, state: v1alpha1.StateRevoked, reason: v1alpha1.ReasonPolicyWithdrawn,
		},
	} {
		t.Run(name, func(t *testing.T) {
			req, b := active(t)
			if tc.request != nil {
				tc.request(req)
			}
			if tc.binding != nil {
				tc.binding(b)
			}
			seen := Observed{Admission: inForce, Binding: b}
			if tc.gone {
				seen.Binding = nil
			}
			step := next(t, tc.now, req, allows, seen, tc.objections...)
			check(t, step, tc.action, tc.state, tc.reason)
			if tc.reason != "" && (step.Outcome.Grant.EndedAt == nil || step.Outcome.Grant.EndReason != tc.reason) {
				t.Errorf("the end is not recorded: %+v", step.Outcome.Grant)
			}
		})
	}
}

// A grant that status does not know is recorded before its binding goes: see doc.go.
func TestUnrecordedGrant(t *testing.T) {
	denies, elsewhere := policy.Decision{Verdict: policy.Denied}, allows
	elsewhere.Policy = &v1alpha1.PolicyReference{Name: "other", UID: "p2", Generation: 1}
	end := noon.Add(10 * time.Minute)
	for name, tc := range map[string]struct {
		now      time.Time
		binding  func(*rbacv1.RoleBinding)
		decision policy.Decision
		action   Action
		state    v1alpha1.RequestState
		reason   string
	}{
		"exactly ours: recorded": {
			now: noon.Add(time.Minute), decision: allows, action: Nothing, state: v1alpha1.StateActive, reason: v1alpha1.ReasonGranted,
		},
		"overdue: emptied and recorded, not deleted": {
			now: end, decision: allows, action: Empty, state: v1alpha1.StateExpired, reason: v1alpha1.ReasonExpired,
		},
		"overdue and empty already: recorded": {
			now: end, decision: allows, binding: func(b *rbacv1.RoleBinding) { b.Subjects = nil },
			action: Empty, state: v1alpha1.StateExpired, reason: v1alpha1.ReasonExpired,
		},
		"no longer allowed: emptied and recorded": {
			now: noon, decision: denies, action: Empty, state: v1alpha1.StateRevoked, reason: v1alpha1.ReasonPolicyWithdrawn,
		},
		"another policy allows it now: emptied": {
			now: noon, decision: elsewhere, action: Empty, state: v1alpha1.StateRevoked, reason: v1alpha1.ReasonPolicyWithdrawn,
		},
		"other subjects: a stranger's, left alone": {
			now: noon, decision: allows, binding: func(b *rbacv1.RoleBinding) { b.Subjects[0].Name = "eve" }, action: Nothing,
			state: v1alpha1.StateFailed, reason: v1alpha1.ReasonBindingConflict,
		},
		"other role: a stranger's, left alone": {
			now: noon, decision: allows, binding: func(b *rbacv1.RoleBinding) { b.RoleRef.Name = "admin" }, action: Nothing,
			state: v1alpha1.StateFailed, reason: v1alpha1.ReasonBindingConflict,
		},
		"later expiry: a stranger's, left alone": {
			now: noon, decision: allows, binding: expiring(text.Time(end.Add(time.Second))),
			action: Nothing, state: v1alpha1.StateFailed, reason: v1alpha1.ReasonBindingConflict,
		},
		"expiry put off before it was recorded: a stranger's, left alone": {
			now: noon.Add(time.Minute), decision: allows, binding: expiring(text.Time(end.Add(time.Second))),
			action: Nothing, state: v1alpha1.StateFailed, reason: v1alpha1.ReasonBindingConflict,
		},
		"its beginning put off as well: a stranger's, left alone": {
			now: noon.Add(time.Minute), decision: allows, binding: func(b *rbacv1.RoleBinding) {
				b.Annotations[v1alpha1.CreateByAnnotation] = text.Time(noon.Add(time.Minute + binding.CreateWindow))
				b.Annotations[v1alpha1.ExpiresAtAnnotation] = text.Time(end.Add(time.Minute))
			},
			action: Nothing, state: v1alpha1.StateFailed, reason: v1alpha1.ReasonBindingConflict,
		},
		"emptied before its end, for a request that could not be read: its end is recorded": {
			now: noon, decision: allows, binding: func(b *rbacv1.RoleBinding) { b.Subjects = nil },
			action: Empty, state: v1alpha1.StateRevoked, reason: v1alpha1.ReasonRevoked,
		},
		"emptied because it is not allowed any more: recorded with that reason": {
			now: noon, decision: denies, binding: func(b *rbacv1.RoleBinding) { b.Subjects = nil },
			action: Empty, state: v1alpha1.StateRevoked, reason: v1alpha1.ReasonPolicyWithdrawn,
		},
		"no labels of ours: a stranger's, left alone": {
			now: noon, decision: allows, binding: func(b *rbacv1.RoleBinding) { b.Labels = nil },
			action: Nothing, state: v1alpha1.StateFailed, reason: v1alpha1.ReasonBindingConflict,
		},
		"no expiry: a stranger's, left alone": {
			now: noon, decision: allows, binding: expiring(""), action: Nothing, state: v1alpha1.StateFailed, reason: v1alpha1.ReasonBindingConflict,
		},
	} {
		t.Run(name, func(t *testing.T) {
			req, b := active(t)
			req.Status = v1alpha1.AccessRequestStatus{}
			if tc.binding != nil {
				tc.binding(b)
			}
			step := next(t, tc.now, req, tc.decision, Observed{Admission: inForce, Binding: b})
			check(t, step, tc.action, tc.state, tc.reason)
			if tc.reason == v1alpha1.ReasonGranted && !step.Outcome.Grant.ExpiresAt.Time.Equal(end) {
				t.Errorf("expiresAt = %s, want that of the binding, %s", step.Outcome.Grant.ExpiresAt, end)
			}
			if tc.reason == v1alpha1.ReasonGranted && !strings.HasSuffix(step.Outcome.Message, "access ends at "+text.Time(end)) {
				t.Errorf("message = %q, want the end of the binding, %s", step.Outcome.Message, text.Time(end))
			}
		})
	}
}

func TestAGrantWhoseBindingWasLostIsNotGivenAgain(t *testing.T) {
	given := v1alpha1.Grant{
		Binding: "lapse-debug-6f1c2d3e", GrantedAt: metav1.NewTime(noon), ExpiresAt: metav1.NewTime(noon.Add(10 * time.Minute)),
	}
	seen := Observed{Admission: inForce, Lost: &given}
	step := next(t, noon.Add(time.Minute), request(), allows, seen)
	check(t, step, Nothing, v1alpha1.StateRevoked, v1alpha1.ReasonRevoked)
	if g := step.Outcome.Grant; !g.GrantedAt.Equal(&given.GrantedAt) || !g.EndedAt.Time.Equal(noon.Add(time.Minute)) {
		t.Errorf("grant %+v", g)
	}
	check(t, next(t, noon.Add(10*time.Minute), request(), allows, seen), Nothing, v1alpha1.StateExpired, v1alpha1.ReasonExpired)
	going := request()
	deleted(going)
	if step := next(t, noon.Add(time.Minute), going, allows, seen); step.Action != Nothing || step.Outcome != nil {
		t.Errorf("a request that is being deleted: %+v", step)
	}
	req, b := active(t) // status and binding say more than what is remembered
	given.ExpiresAt = metav1.NewTime(noon)
	if step := next(t, noon.Add(time.Minute), req, allows, Observed{Admission: inForce, Binding: b, Lost: &given}); step.Action != Nothing ||
		step.Outcome != nil {
		t.Errorf("a grant that goes on: %+v", step)
	}
}

func TestWhatIsRecordedLateEndsNoLaterThanTheCeiling(t *testing.T) {
	req, b := active(t)
	req.Status = v1alpha1.AccessRequestStatus{}
	b.Annotations[v1alpha1.ExpiresAtAnnotation] = text.Time(noon.Add(48 * time.Hour))
	ceiling := noon.Add(settings.MaxDuration)
	step := next(t, ceiling, req, allows, Observed{Binding: b})
	check(t, step, Empty, v1alpha1.StateExpired, v1alpha1.ReasonExpired)
	if got := step.Outcome.Grant.ExpiresAt; !got.Time.Equal(ceiling) {
		t.Errorf("expiresAt = %s, want the ceiling, %s", got, ceiling)
	}
	if want := "access ended at the operator's ceiling of 24h0m0s, at " + text.Time(ceiling); step.Outcome.Message != want {
		t.Errorf("message = %q, want %q", step.Outcome.Message, want)
	}
}

func TestAnEndThatIsSeenLateIsNotSaidToHaveBeenOnTime(t *testing.T) {
	end := noon.Add(10 * time.Minute)
	for name, tc := range map[string]struct {
		now  time.Time
		want string
	}{
		"on time":       {end.Add(time.Second), "access ended as promised at 2026-12-01T12:10:00Z"},
		"within limits": {end.Add(seenLate), "access ended as promised at 2026-12-01T12:10:00Z"},
		"an hour later": {
			end.Add(time.Hour), "access was promised until 2026-12-01T12:10:00Z; that it is over was not seen before 2026-12-01T13:10:00Z",
		},
		"not much later": {
			end.Add(seenLate + time.Second),
			"access was promised until 2026-12-01T12:10:00Z; that it is over was not seen before 2026-12-01T12:11:01Z",
		},
	} {
		t.Run(name, func(t *testing.T) {
			req, b := active(t)
			recorded := next(t, tc.now, req, allows, Observed{Admission: inForce, Binding: b})
			req.Status = v1alpha1.AccessRequestStatus{}
			unrecorded := next(t, tc.now, req, allows, Observed{Admission: inForce, Binding: b})
			for _, step := range []Step{recorded, unrecorded} {
				if step.Outcome.Message != tc.want {
					t.Errorf("message = %q, want %q", step.Outcome.Message, tc.want)
				}
			}
		})
	}
}

func TestWhenAGrantEndedIsSetToTheSecond(t *testing.T) {
	req, b := active(t)
	end := noon.Add(10 * time.Minute)
	step := next(t, end, req, allows, Observed{Admission: inForce, Binding: b})
	step.Outcome.EndedAt(end.Add(1700 * time.Millisecond))
	if got := step.Outcome.Grant.EndedAt; !got.Time.Equal(end.Add(time.Second)) {
		t.Errorf("endedAt = %s", got)
	}
	(*Outcome)(nil).EndedAt(end)
	refused := refuse(v1alpha1.ReasonDenied, "no", nil).Outcome
	refused.EndedAt(end)
	goesOn := next(t, noon, request(), allows, Observed{Admission: inForce}).Outcome
	if goesOn.EndedAt(end); goesOn.Grant.EndedAt != nil || refused.Grant != nil {
		t.Error("what did not end has no end")
	}
}

func TestFinalRequest(t *testing.T) {
	for _, state := range []v1alpha1.RequestState{v1alpha1.StateExpired, v1alpha1.StateReturned, v1alpha1.StateDenied, v1alpha1.StateRevoked} {
		t.Run(string(state)+" is never granted again, and loses a binding that is left", func(t *testing.T) {
			req, b := active(t)
			req.Status.State = state
			check(t, next(t, noon, req, allows, Observed{Admission: inForce}), Nothing, "", "")
			check(t, next(t, noon, req, allows, Observed{Admission: inForce, Binding: b}), Delete, "", "")
			b.Labels[v1alpha1.RequestUIDLabel] = "somebody-else"
			check(t, next(t, noon, req, allows, Observed{Admission: inForce, Binding: b}), Nothing, "", "")
		})
	}
}

func TestRetention(t *testing.T) {
	ended := func(change func(*v1alpha1.AccessRequest)) *v1alpha1.AccessRequest {
		req, _ := active(t)
		req.Status.State = v1alpha1.StateExpired
		req.Status.Grant.EndedAt = &metav1.Time{Time: noon}
		if change != nil {
			change(req)
		}
		return req
	}
	due := noon.Add(settings.Retention)
	check(t, next(t, due.Add(-time.Second), ended(nil), allows, Observed{Admission: inForce}), Nothing, "", "")
	check(t, next(t, due, ended(nil), allows, Observed{Admission: inForce}), Forget, "", "")
	for _, mark := range gitOpsMarks {
		labelled := ended(func(r *v1alpha1.AccessRequest) { r.Labels = map[string]string{mark: "x"} })
		check(t, next(t, due, labelled, allows, Observed{Admission: inForce}), Nothing, "", "")
		annotated := ended(func(r *v1alpha1.AccessRequest) { r.Annotations = map[string]string{mark: "x"} })
		check(t, next(t, due, annotated, allows, Observed{Admission: inForce}), Nothing, "", "")
	}
	step, err := Next(due, ended(nil), judge(allows), Observed{Admission: inForce}, Settings{MaxDuration: 24 * time.Hour})
	if err != nil || step.Action != Nothing {
		t.Errorf("retention 0 keeps requests: got %s, %v", step.Action, err)
	}
}

func TestWhatCouldStillGrantIsNotForgotten(t *testing.T) {
	due := noon.Add(settings.Retention)
	until := func(req *v1alpha1.AccessRequest, end time.Time) *v1alpha1.AccessRequest {
		req.Spec.NotAfter = &metav1.Time{Time: end}
		return req
	}
	held := func() *v1alpha1.AccessRequest {
		req, _ := active(t)
		req.Status.State = v1alpha1.StateExpired
		req.Status.Grant.EndedAt = &metav1.Time{Time: noon}
		return req
	}
	denied := func() *v1alpha1.AccessRequest {
		req := refusedAt(noon)
		req.Status.Conditions[0].Message = deniedBy + `"carol"`
		return req
	}
	for name, req := range map[string]func() *v1alpha1.AccessRequest{"held": held, "denied by somebody": denied} {
		t.Run(name, func(t *testing.T) {
			seen := Observed{Admission: inForce}
			check(t, next(t, due, until(req(), due), allows, seen), Forget, "", "")
			step := next(t, due, until(req(), due.Add(time.Second)), allows, seen)
			if check(t, step, Nothing, "", ""); !step.After.Equal(due.Add(time.Second)) {
				t.Errorf("it is looked at again at %s", step.After)
			}
			check(t, next(t, due.Add(time.Second), until(req(), due.Add(time.Second)), allows, seen), Forget, "", "")
			check(t, next(t, due, until(req(), noon), allows, seen), Forget, "", "")
		})
	}
	// What policies refused may be many, and held nothing.
	refused := until(refusedAt(noon), due)
	check(t, next(t, noon.Add(refusedRetention), refused, allows, Observed{Admission: inForce}), Forget, "", "")
}

// What ends access is asked before anything that can fail.
func TestNothingAboutPoliciesDelaysAnEnd(t *testing.T) {
	broken := Judge{
		Decide:     func() (policy.Decision, error) { return policy.Decision{}, errors.New("no policies") },
		Objections: func(v1alpha1.Grant) ([]string, error) { return nil, errors.New("no policies") },
		RoleChange: func(v1alpha1.Grant) (policy.RoleChange, error) {
			return policy.RoleChange{}, errors.New("no roles")
		},
	}
	req, b := active(t)
	step, err := Next(noon.Add(10*time.Minute), req, broken, Observed{Admission: inForce, Binding: b}, settings)
	if err != nil || step.Action != Delete {
		t.Errorf("at the deadline: %s, %v", step.Action, err)
	}
	b.Subjects[0].Name = "eve"
	if step, err = Next(noon, req, broken, Observed{Admission: inForce, Binding: b}, settings); err != nil || step.Action != Delete {
		t.Errorf("tampered: %s, %v", step.Action, err)
	}
	if _, err = Next(noon, request(), broken, Observed{Admission: inForce}, settings); err == nil {
		t.Error("an error while deciding was taken for an answer")
	}
}

func TestExpiryIsTheEarlierOfDurationAndNotAfter(t *testing.T) {
	for name, tc := range map[string]struct {
		notAfter time.Time
		want     time.Time
	}{
		"no notAfter":      {want: noon.Add(10 * time.Minute)},
		"earlier notAfter": {notAfter: noon.Add(time.Minute), want: noon.Add(time.Minute)},
		"later notAfter":   {notAfter: noon.Add(time.Hour), want: noon.Add(10 * time.Minute)},
	} {
		t.Run(name, func(t *testing.T) {
			req := request()
			if !tc.notAfter.IsZero() {
				req.Spec.NotAfter = &metav1.Time{Time: tc.notAfter}
			}
			step := next(t, noon.Add(900*time.Millisecond), req, allows, Observed{Admission: inForce})
			if got := step.Binding.Annotations[v1alpha1.ExpiresAtAnnotation]; got != text.Time(tc.want) {
				t.Errorf("expires-at = %s, want %s", got, text.Time(tc.want))
			}
		})
	}
}

func check(t *testing.T, step Step, action Action, state v1alpha1.RequestState, reason string) {
	t.Helper()
	if step.Action != action {
		t.Errorf("action = %s, want %s", step.Action, action)
	}
	var gotState v1alpha1.RequestState
	var gotReason string
	if step.Outcome != nil {
		gotState, gotReason = step.Outcome.State, step.Outcome.Reason
	}
	if gotState != state || gotReason != reason {
		t.Errorf("outcome = %s/%s, want %s/%s", gotState, gotReason, state, reason)
	}
}

func deleted(r *v1alpha1.AccessRequest) { r.DeletionTimestamp = &metav1.Time{Time: noon} }

func notBefore(at time.Time) func(*v1alpha1.AccessRequest) {
	return func(r *v1alpha1.AccessRequest) { r.Spec.NotBefore = &metav1.Time{Time: at} }
}

func expiring(at string) func(*rbacv1.RoleBinding) {
	return func(b *rbacv1.RoleBinding) { b.Annotations[v1alpha1.ExpiresAtAnnotation] = at }
}
