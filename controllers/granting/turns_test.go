// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/grant"
	"github.com/lapse-dev/lapse/test/builders"
)

func by(who string, state v1alpha1.RequestState) *v1alpha1.AccessRequest {
	req := builders.Request("r").In("payments").By(who).Build()
	req.Status.State = state
	return req
}

func TestWhoMakesManyRequestsComesAfterWhoMakesFew(t *testing.T) {
	turns := newTurns()
	for i := range 300 {
		want := max(-i, lastTurn)
		if got := *turns.priority(by("mallory", "")); got != want {
			t.Fatalf("mallory's request %d has priority %d, want %d", i, got, want)
		}
		turns.count(by("mallory", ""), 1)
	}
	if got := *turns.priority(by("alice", "")); got != 0 {
		t.Errorf("alice's first request has priority %d, want 0", got)
	}
	if first, again := *turns.priority(by("alice", "")), *turns.priority(by("alice", v1alpha1.StatePending)); first <= again {
		t.Errorf("a request without an answer has priority %d, one that is judged again %d", first, again)
	}
	if got := *turns.priority(by("mallory", v1alpha1.StateActive)); got != endFirst {
		t.Errorf("what is held has priority %d, want %d", got, endFirst)
	}
	for range 300 {
		turns.count(by("mallory", ""), -1)
	}
	if len(turns.requests) > 0 {
		t.Errorf("all have an answer, and these are counted: %v", turns.requests)
	}
}

func TestWhatIsCountedOfARequester(t *testing.T) {
	turns := newTurns()
	granted := by("alice", v1alpha1.StateExpired)
	granted.Status.Grant = &v1alpha1.Grant{}
	for _, req := range []*v1alpha1.AccessRequest{
		by("alice", v1alpha1.StatePending), by("alice", v1alpha1.StateScheduled), by("alice", v1alpha1.StateFailed),
		by("alice", v1alpha1.StateDenied), by("alice", v1alpha1.StateReturned),
		by("alice", v1alpha1.StateActive), granted, by("bob", v1alpha1.StatePending),
	} {
		turns.count(req, 1)
	}
	of := by("alice", "")
	if got, want := fmt.Sprint(turns.of(of, unanswered), turns.of(of, waiting), turns.of(of, neverHeld)), "0 3 2"; got != want {
		t.Errorf("without an answer, waiting, refused: %s, want %s", got, want)
	}
}

// behindClient is a cache that shows no deletions yet.
type behindClient struct {
	client.Client
	refused []v1alpha1.AccessRequest
	deleted int
}

func (c *behindClient) List(_ context.Context, into client.ObjectList, opts ...client.ListOption) error {
	options := (&client.ListOptions{}).ApplyOptions(opts)
	if state, _ := options.FieldSelector.RequiresExactMatch(stateField); state == string(v1alpha1.StateDenied) {
		into.(*v1alpha1.AccessRequestList).Items = c.refused
	}
	return nil
}

func (c *behindClient) Delete(context.Context, client.Object, ...client.DeleteOption) error {
	c.deleted++
	return nil
}

func TestWhatIsForgottenIsDeletedOnce(t *testing.T) {
	const surplus = 3
	cached := &behindClient{}
	r := &RequestReconciler{
		client: cached, turns: newTurns(), forgotten: binding.NewUIDs(), settings: grant.Settings{Retention: time.Hour},
	}
	for i := range grant.MaxRefused + surplus {
		req := by("alice", v1alpha1.StateDenied)
		req.UID = types.UID(fmt.Sprint(i))
		req.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Message: "no policy allows it"}}
		cached.refused = append(cached.refused, *req)
		r.turns.count(req, 1)
	}
	for range 5 {
		if err := r.forgetSurplus(t.Context(), by("alice", v1alpha1.StateDenied)); err != nil {
			t.Fatal(err)
		}
	}
	if cached.deleted != surplus {
		t.Errorf("%d deletions of %d requests", cached.deleted, surplus)
	}
}
