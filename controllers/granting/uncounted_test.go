// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/admission"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/grant"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/servertime"
	"github.com/lapse-dev/lapse/test/builders"
)

// undecided is a request under a policy that bob has to approve, and decisions on it, one of
// each reviewer.
func undecided(now time.Time, verdict v1alpha1.Verdict, reviewers ...string) (
	*RequestReconciler, *recorded, *v1alpha1.AccessRequest, grant.Observed,
) {
	c := &courts{policy: builders.Policy("p").ApprovedBy(builders.User("bob")).Build()}
	c.policy.UID, c.policy.Generation = "u", 1
	events := &recorded{}
	r := &RequestReconciler{client: c, recorder: events, uncounted: newUncounted(), judges: newJudges(c, c, policy.Limits{})}
	req := builders.Request("debug").In("payments").By("alice").Build()
	req.UID, req.CreationTimestamp = "r", metav1.NewTime(now)
	req.Status.State, req.Status.Policy = v1alpha1.StatePending, &v1alpha1.PolicyReference{Name: "p", UID: "u", Generation: 1}
	seen := grant.Observed{}
	for i, reviewer := range reviewers {
		d := builders.Decision(fmt.Sprint("d", i), req, verdict)
		d.UID, d.CreationTimestamp, d.Spec.Reviewer = types.UID(fmt.Sprint("d", i)), metav1.NewTime(now), &v1alpha1.Identity{Username: reviewer}
		seen.Decisions = append(seen.Decisions, *d)
	}
	return r, events, req, seen
}

func TestADecisionThatDoesNotCountIsToldOnceOnItAndOnItsRequest(t *testing.T) {
	now := time.Date(2026, 11, 29, 6, 0, 0, 0, time.UTC)
	for verdict, why := range map[v1alpha1.Verdict]string{ //nolint:exhaustive // a revocation is judged as a denial
		v1alpha1.VerdictApprove: `approve by "eve" does not count: "eve" is not among the approvers of policy p`,
		v1alpha1.VerdictDeny:    `deny by "eve" does not count: "eve" is neither an approver nor a revoker of policy p`,
	} {
		r, events, req, seen := undecided(now, verdict, "bob", "eve")
		req.Status.Approvals = []v1alpha1.Approval{{Decision: "d0", Reviewer: "bob"}}
		for range 3 {
			r.announceUncounted(t.Context(), now, req, seen)
		}
		want := recorded{
			"DecisionNotCounted of AccessDecision d1 and debug: " + why,
			"DecisionNotCounted of debug and AccessDecision d1: " + why,
		}
		if !slices.Equal(*events, want) {
			t.Errorf("got %q, want %q", *events, want)
		}
	}
}

func TestOfManyDecisionsThatDoNotCountSomeAreTold(t *testing.T) {
	now := time.Date(2026, 11, 29, 6, 0, 0, 0, time.UTC)
	r, events, req, seen := undecided(now, v1alpha1.VerdictApprove, strings.Fields(strings.Repeat("eve ", 100))...)
	for range 3 {
		r.announceUncounted(t.Context(), now, req, seen)
	}
	if len(*events) != 2*maxUncounted {
		t.Errorf("%d Events", len(*events))
	}
}

func TestAnOperatorThatStartsTellsNothingOfDecisionsOfOldThatDoNotCount(t *testing.T) {
	now := time.Date(2026, 11, 29, 6, 0, 0, 0, time.UTC)
	r, events, req, seen := undecided(now, v1alpha1.VerdictApprove, "eve")
	r.announceUncounted(t.Context(), now.Add(uncountedFor), req, seen)
	if len(*events) != 0 {
		t.Errorf("told %q", *events)
	}
	if r.announceUncounted(t.Context(), now.Add(uncountedFor-time.Second), req, seen); len(*events) != 2 {
		t.Errorf("told %q", *events)
	}
}

func TestNothingIsToldByAPolicyThatTheRequestWasNotJudgedBy(t *testing.T) {
	now := time.Date(2026, 11, 29, 6, 0, 0, 0, time.UTC)
	r, events, req, seen := undecided(now, v1alpha1.VerdictApprove, "eve")
	req.Status.Policy.Generation = 2
	if r.announceUncounted(t.Context(), now, req, seen); len(*events) != 0 {
		t.Errorf("told %q", *events)
	}
}

// oneRequest is an API server with one request, without a binding, and the decisions on it.
type oneRequest struct {
	client.Client
	req       *v1alpha1.AccessRequest
	decisions []v1alpha1.AccessDecision
	deleted   int
}

func (s *oneRequest) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	if req, ok := into.(*v1alpha1.AccessRequest); ok {
		s.req.DeepCopyInto(req)
		return nil
	}
	return apierrors.NewNotFound(rbacv1.Resource("rolebindings"), key.Name)
}

func (s *oneRequest) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	into.(*v1alpha1.AccessDecisionList).Items = s.decisions
	return nil
}

func (s *oneRequest) Delete(context.Context, client.Object, ...client.DeleteOption) error {
	s.deleted++
	return nil
}

func TestAWordThatHasARequestForgottenIsNotToldToCountForNothing(t *testing.T) {
	end := time.Date(2026, 11, 29, 6, 0, 0, 0, time.UTC)
	for who, forgotten := range map[string]bool{"alice": true, "eve": false} {
		_, _, req, seen := undecided(end, v1alpha1.VerdictRevoke, "alice", who)
		req.Status.State = v1alpha1.StateReturned
		req.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, LastTransitionTime: metav1.NewTime(end)}}
		seen.Decisions[1].CreationTimestamp = metav1.NewTime(end.Add(time.Second))
		s, events := &oneRequest{req: req, decisions: seen.Decisions}, &recorded{}
		r := NewRequestReconciler(Options{
			Client: s, Live: s, Clock: servertime.New(clocktesting.NewFakeClock(end.Add(2 * time.Second))), Recorder: events,
			Admission: func() admission.State { return admission.State{} }, Memory: binding.NewMemory(24 * time.Hour), Retention: time.Hour,
		})
		if _, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(req)}); err != nil {
			t.Fatal(err)
		}
		if (s.deleted == 1) != forgotten || (len(*events) == 0) != forgotten {
			t.Errorf("after a word of %s: %d deletions, and told %q", who, s.deleted, *events)
		}
	}
}
