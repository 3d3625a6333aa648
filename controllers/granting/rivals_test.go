// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

// shelf is a cluster with policies, and counts how often they are listed.
type shelf struct {
	client.Client
	policies []v1alpha1.AccessPolicy
}

func (s *shelf) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	list.(*v1alpha1.AccessPolicyList).Items = s.policies
	return nil
}

// taken is who is taken out of a queue within some time, in order.
func taken(q priorityqueue.PriorityQueue[reconcile.Request], within time.Duration) (names []string) {
	end := time.Now().Add(within)
	for time.Now().Before(end) {
		<-time.After(100 * time.Millisecond) // of the clock of the bubble
		synctest.Wait()
		for q.Len() > 0 {
			key, _ := q.Get()
			q.Done(key)
			names = append(names, key.Name)
		}
	}
	return names
}

// Whoever edits one of many policies ten times a second has each of them looked at again only
// now and then: each look compares it with all.
func TestRivalsOfAPolicyThatIsEditedAreLookedAtLaterAndSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		edited := builders.Policy("edited").From(builders.Group("oncall")).In("payments").Build()
		s := &shelf{policies: []v1alpha1.AccessPolicy{*edited, *builders.Policy("elsewhere").In("billing").Build()}}
		for i := range 200 {
			s.policies = append(s.policies, *builders.Policy(fmt.Sprintf("rival-%03d", i)).In("payments").Build())
		}
		q := priorityqueue.New[reconcile.Request]("rivals")
		defer q.ShutDown()
		later := (&PolicyReconciler{client: s}).rivalsLater()
		later.Create(t.Context(), event.CreateEvent{Object: edited, IsInInitialList: true}, q)
		if names := taken(q, time.Hour); len(names) > 0 {
			t.Fatalf("at the start %q are queued, which are looked at anyway", names)
		}
		names := make([]string, 0, 200)
		for range 600 { // a minute
			later.Update(t.Context(), event.UpdateEvent{ObjectOld: edited, ObjectNew: edited}, q)
			names = append(names, taken(q, 100*time.Millisecond)...)
		}
		if len(names) < 50 || len(names) > 200 || names[0] != "rival-000" {
			t.Errorf("within a minute %d policies were looked at", len(names))
		}
		seen := map[string]int{}
		for _, name := range append(names, taken(q, time.Hour)...) {
			seen[name]++
		}
		if seen["elsewhere"]+seen["edited"] > 0 || len(seen) != 200 || seen["rival-000"] > 7 {
			t.Errorf("looked at %d policies: %v", len(seen), seen)
		}
	})
}

func TestRivalsOfThePolicyAsItWasAreLookedAtToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before, after := builders.Policy("edited").In("payments").Build(), builders.Policy("edited").In("billing").Build()
		s := &shelf{policies: []v1alpha1.AccessPolicy{
			*after, *builders.Policy("a").In("payments").Build(), *builders.Policy("b").In("billing").Build(), *builders.Policy("c").In("x").Build(),
		}}
		q := priorityqueue.New[reconcile.Request]("rivals")
		defer q.ShutDown()
		(&PolicyReconciler{client: s}).rivalsLater().Update(t.Context(), event.UpdateEvent{ObjectOld: before, ObjectNew: after}, q)
		if names := taken(q, rivalsAfter-time.Second); len(names) > 0 {
			t.Errorf("%q are looked at at once", names)
		}
		if names := fmt.Sprint(taken(q, rivalsAfter)); names != "[a b]" {
			t.Errorf("%s are looked at", names)
		}
	})
}
