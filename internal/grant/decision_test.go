// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"errors"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/test/builders"
)

func decided(by string, verdict v1alpha1.Verdict) v1alpha1.AccessDecision {
	d := *builders.Decision("by-"+by, request(), verdict)
	d.CreationTimestamp = metav1.NewTime(noon)
	d.Spec.Reviewer = &v1alpha1.Identity{Username: by}
	return d
}

// asked is a judge under which carol may end what policy p1 allows; it counts.
func asked(count *int) Judge {
	j := judge(allows)
	j.MayEnd = func(policy string, who *v1alpha1.Identity) (bool, error) {
		*count++
		return policy == "p1" && who.Username == "carol", nil
	}
	return j
}

func TestAnOperatorThatWasKilledAfterItEndedAccessFindsWhoDidIt(t *testing.T) {
	for name, tc := range map[string]struct {
		decision v1alpha1.AccessDecision
		state    v1alpha1.RequestState
		reason   string
		by       string
	}{
		"revoked":    {decided("carol", v1alpha1.VerdictRevoke), v1alpha1.StateRevoked, v1alpha1.ReasonRevoked, "carol"},
		"given back": {decided("alice", v1alpha1.VerdictRevoke), v1alpha1.StateReturned, v1alpha1.ReasonReturned, "alice"},
		"neither":    {decided("eve", v1alpha1.VerdictRevoke), v1alpha1.StateRevoked, v1alpha1.ReasonRevoked, ""},
	} {
		t.Run(name, func(t *testing.T) {
			req, _ := active(t)
			req.Status.Policy = &v1alpha1.PolicyReference{Name: "p1"}
			var n int
			step, err := Next(noon, req, asked(&n), Observed{Admission: inForce, Decisions: []v1alpha1.AccessDecision{tc.decision}}, settings)
			if err != nil {
				t.Fatal(err)
			}
			check(t, step, Delete, tc.state, tc.reason)
			if got := step.Outcome.Grant.EndedBy; got != tc.by {
				t.Errorf("endedBy = %q, want %q", got, tc.by)
			}
		})
	}
}

func TestADenyCountsUnderThePolicyThatTheRequestWaitedFor(t *testing.T) {
	req := request()
	req.Status.Policy = &v1alpha1.PolicyReference{Name: "p1"} // now another one allows it
	var n int
	step, err := Next(noon, req, asked(&n),
		Observed{Admission: inForce, Decisions: []v1alpha1.AccessDecision{decided("carol", v1alpha1.VerdictDeny)}}, settings)
	if err != nil {
		t.Fatal(err)
	}
	check(t, step, Nothing, v1alpha1.StateDenied, v1alpha1.ReasonDenied)
}

func TestARequestOfWhichNotAllPoliciesWereAskedWaitsForItsOwn(t *testing.T) {
	req := request()
	req.Status.Policy = &v1alpha1.PolicyReference{Name: "p1"}
	var n int
	j := asked(&n)
	j.Decide = func() (policy.Decision, error) { return policy.Decision{Verdict: policy.TooCostly}, nil }
	step, err := Next(noon, req, j, Observed{Admission: inForce}, settings)
	if err != nil {
		t.Fatal(err)
	}
	check(t, step, Nothing, v1alpha1.StateFailed, v1alpha1.ReasonConditionsTooCostly)
	if step.Outcome.Policy == nil || step.Outcome.Policy.Name != "p1" {
		t.Errorf("it is under policy %v", step.Outcome.Policy)
	}
	no := []v1alpha1.AccessDecision{decided("carol", v1alpha1.VerdictDeny)}
	if step, err = Next(noon, req, j, Observed{Admission: inForce, Decisions: no}, settings); err != nil {
		t.Fatal(err)
	}
	check(t, step, Nothing, v1alpha1.StateDenied, v1alpha1.ReasonDenied)
}

func TestAFloodOfNoesCostsOneQuestionForEachPerson(t *testing.T) {
	req, b := active(t)
	req.Status.Policy = &v1alpha1.PolicyReference{Name: allows.Policy.Name}
	flood := make([]v1alpha1.AccessDecision, 0, 1000)
	for range 1000 {
		flood = append(flood, decided("eve", v1alpha1.VerdictDeny))
	}
	var n int
	if _, err := Next(noon, req, asked(&n), Observed{Admission: inForce, Binding: b, Decisions: flood}, settings); err != nil {
		t.Fatal(err)
	}
	if n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestANoIsNotTakenForThatOfSomebodyWhoseNameRunsIntoTheNextField(t *testing.T) {
	req, b := active(t)
	req.Status.Policy = &v1alpha1.PolicyReference{Name: allows.Policy.Name}
	mallory, bob := decided("bob\x00", v1alpha1.VerdictRevoke), decided("bob", v1alpha1.VerdictRevoke)
	mallory.Name = "asked-about-first"
	mallory.Spec.Reviewer.UID, bob.Spec.Reviewer.Groups = "leads", []string{"leads"}
	j := judge(allows)
	j.MayEnd = func(_ string, who *v1alpha1.Identity) (bool, error) { return who.Username == "bob", nil }
	step, err := Next(noon, req, j, Observed{Admission: inForce, Binding: b, Decisions: []v1alpha1.AccessDecision{mallory, bob}}, settings)
	if err != nil || step.Action != Delete {
		t.Errorf("step = %s, err = %v; the approver's no is not heard", step.Action, err)
	}
}

func TestAnErrorWhileAskingWhoMayDenyIsNeverAYes(t *testing.T) {
	j := judge(allows)
	j.MayEnd = func(string, *v1alpha1.Identity) (bool, error) { return false, errors.New("no answer") }
	step, err := Next(noon, request(), j,
		Observed{Admission: inForce, Decisions: []v1alpha1.AccessDecision{decided("eve", v1alpha1.VerdictDeny)}}, settings)
	if err == nil || step.Action == Create {
		t.Errorf("step = %s, err = %v", step.Action, err)
	}
}

func TestABindingThatIsNotWhatWeWouldMakeIsAStrangersThoughNothingIsApproved(t *testing.T) {
	pending := allows
	pending.Approvals = []v1alpha1.ApprovalRule{{Count: 1}}
	req, b := active(t)
	req.Status = v1alpha1.AccessRequestStatus{}
	b.RoleRef.Name = "admin"
	check(t, next(t, noon, req, pending, Observed{Admission: inForce, Binding: b}), Nothing, v1alpha1.StateFailed,
		v1alpha1.ReasonBindingConflict)
}
