// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/test/builders"
)

// nothing is a cluster in which every object is there, and empty.
type nothing struct{ client.Client }

func (nothing) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return nil
}
func (nothing) List(context.Context, client.ObjectList, ...client.ListOption) error { return nil }

// courts is a cluster with one policy, whose authorizer lets one user delete requests.
type courts struct {
	client.Client
	policy  *v1alpha1.AccessPolicy
	deleter string
	asked   int
	problem string // of the authorizer, in asking somebody else
}

func (c *courts) Get(_ context.Context, _ client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	c.policy.DeepCopyInto(into.(*v1alpha1.AccessPolicy))
	return nil
}

func (c *courts) Create(_ context.Context, obj client.Object, _ ...client.CreateOption) error {
	review := obj.(*authorizationv1.SubjectAccessReview)
	c.asked++
	review.Status.EvaluationError = c.problem
	review.Status.Allowed = review.Spec.ResourceAttributes.Verb == "delete" && review.Spec.User == c.deleter
	return nil
}

func TestWhoMayEnd(t *testing.T) {
	open := builders.Policy("p").RevokedBy(builders.User("zoe"))
	closed := open.ApprovedBy(builders.User("bob"))
	for name, tc := range map[string]struct {
		policy builders.PolicyBuilder
		who    string
		want   bool
		asked  int
	}{
		"an approver":                               {closed, "bob", true, 0},
		"a revoker where people approve":            {closed, "zoe", true, 0},
		"whoever may delete, where people approve":  {closed, "del", false, 0},
		"a revoker where nobody approves":           {open, "zoe", true, 0},
		"whoever may delete, where nobody approves": {open, "del", true, 1},
		"who is none of these, where nobody does":   {open, "eve", false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			c := &courts{policy: tc.policy.Build(), deleter: "del"}
			c.policy.UID, c.policy.Generation = "u", 1
			mayEnd := newJudges(c, c, policy.Limits{}).mayEnd(t.Context(), c, builders.Request("r").Build())
			may, err := mayEnd("p", &v1alpha1.Identity{Username: tc.who})
			if err != nil || may != tc.want || c.asked != tc.asked {
				t.Errorf("may = %v, err = %v, and the authorizer was asked %d times", may, err, c.asked)
			}
		})
	}
}

// One authorizer that cannot be reached does not keep another from saying yes; but without
// that, nobody knows.
func TestAnAuthorizerThatCannotTellHasNotSaidNo(t *testing.T) {
	c := &courts{policy: builders.Policy("p").Build(), deleter: "del", problem: "webhook: connection refused"}
	mayEnd := newJudges(c, c, policy.Limits{}).mayEnd(t.Context(), c, builders.Request("r").Build())
	if may, err := mayEnd("p", &v1alpha1.Identity{Username: "del"}); !may || err != nil {
		t.Errorf("who is allowed: %t, %v", may, err)
	}
	if may, err := mayEnd("p", &v1alpha1.Identity{Username: "eve"}); may || err == nil || !strings.Contains(err.Error(), c.problem) {
		t.Errorf("who may be: %t, %v", may, err)
	}
}

// A revoker who was named a moment ago is believed of the API server: an end never waits
// for the cache.
func TestARevokerCountsWhomTheCacheDoesNotKnowYet(t *testing.T) {
	old := &courts{policy: builders.Policy("p").Build()}
	now := &courts{policy: builders.Policy("p").RevokedBy(builders.User("zoe")).Build()}
	old.policy.UID, old.policy.Generation = "u", 1
	now.policy.UID, now.policy.Generation = "u", 2
	mayEnd := newJudges(old, now, policy.Limits{}).mayEnd(t.Context(), old, builders.Request("r").Build())
	may, err := mayEnd("p", &v1alpha1.Identity{Username: "zoe"})
	if err != nil || !may {
		t.Errorf("may = %v, err = %v", may, err)
	}
}

func TestAJudgementThatWaitsForItsTurnCanBeBrokenOff(t *testing.T) {
	j := newJudges(nothing{}, nothing{}, policy.Limits{})
	j.repeats.turn <- struct{}{} // one that hangs, as where a role is not read
	req := builders.Request("r").Build()
	req.Status.State = v1alpha1.StatePending
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := j.of(ctx, nothing{}, nothing{}, time.Now(), req).Decide()
		done <- err
	}()
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("err = %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("it keeps its seat for as long as the other one hangs")
	}
}
