// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"errors"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/admission"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/grant"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/servertime"
)

// noBinding is an API server without bindings, at which an informer shows one while it is
// asked.
type noBinding struct {
	client.Reader
	asked func()
}

func (s noBinding) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	s.asked()
	return apierrors.NewNotFound(rbacv1.Resource("rolebindings"), "gone")
}

func (s noBinding) List(context.Context, client.ObjectList, ...client.ListOption) error { return nil }

func TestABindingThatIsSeenWhileItIsNotFoundIsLookedForAgain(t *testing.T) {
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	req := &v1alpha1.AccessRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "debug", UID: "6f1c2d3e-0000"}}
	made := binding.New(req, v1alpha1.Subject{}, "",
		v1alpha1.Grant{GrantedAt: metav1.NewTime(now), ExpiresAt: metav1.NewTime(now.Add(time.Hour))})
	made.Name, made.CreationTimestamp = binding.Name(req), metav1.NewTime(now)
	r := &RequestReconciler{
		clock: servertime.New(clocktesting.NewFakeClock(now)), admission: func() admission.State { return admission.State{} },
		memory: binding.NewMemory(24 * time.Hour), turns: newTurns(),
	}
	meanwhile := noBinding{asked: func() { r.memory.Add(made) }}
	if _, err := r.observe(t.Context(), meanwhile, meanwhile, req); !errors.Is(err, errMadeMeanwhile) {
		t.Errorf("err = %v; the request would be granted a second time", err)
	}
	seen, err := r.observe(t.Context(), meanwhile, meanwhile, req)
	if err != nil || seen.Lost == nil {
		t.Errorf("the next time: lost = %v, err = %v; the grant is known", seen.Lost, err)
	}
}

// The policy that grants it may not know of the approver who denied it while it waited.
func TestWhatWaitedIsNotGrantedByTheDecisionsOfTheCache(t *testing.T) {
	gives := grant.Step{Action: grant.Create, Outcome: &grant.Outcome{}}
	for _, state := range []v1alpha1.RequestState{"", v1alpha1.StatePending, v1alpha1.StateScheduled} {
		req := &v1alpha1.AccessRequest{Status: v1alpha1.AccessRequestStatus{State: state}}
		if got, want := givesUnasked(req, gives), state == ""; got != want {
			t.Errorf("state %q: granted by the decisions of the cache: %v, want %v", state, got, want)
		}
	}
}

func TestAStepThatIsSilentLeavesStatusAsItIs(t *testing.T) {
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	changed := metav1.Condition{Type: v1alpha1.ConditionRoleChanged, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonRoleGrew}
	role := func(reason string) grant.Step {
		return grant.Step{Action: grant.Nothing, Role: &policy.RoleChange{Reason: reason}}
	}
	says := grant.Step{Action: grant.Nothing, Outcome: &grant.Outcome{State: v1alpha1.StatePending}}
	for name, tc := range map[string]struct {
		step       grant.Step
		conditions []metav1.Condition
		want       bool
	}{
		"nothing is said":                      {grant.Step{Action: grant.Nothing}, nil, true},
		"nothing is said of a changed role":    {grant.Step{Action: grant.Nothing}, []metav1.Condition{changed}, true},
		"the role is as it was":                {role(""), nil, true},
		"the role is again as it was":          {role(""), []metav1.Condition{changed}, false},
		"the role has changed":                 {role(changed.Reason), nil, false},
		"something is said":                    {says, nil, false},
		"something is done":                    {grant.Step{Action: grant.Forget}, nil, false},
		"there is no step, as of what is gone": {grant.Step{}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			req := &v1alpha1.AccessRequest{Status: v1alpha1.AccessRequestStatus{State: v1alpha1.StateActive, Conditions: tc.conditions}}
			if got := silent(req, tc.step); got != tc.want {
				t.Fatalf("silent = %v, want %v", got, tc.want)
			}
			after := req.DeepCopy()
			setStatus(now, after, tc.step.Outcome)
			setRoleChanged(now, after, tc.step.Role)
			if tc.want && !equality.Semantic.DeepEqual(req.Status, after.Status) {
				t.Errorf("status became %+v", after.Status)
			}
		})
	}
}
