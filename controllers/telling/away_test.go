// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package telling

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/audit"
)

// The writer is killed in the middle of the hour, while things happen that nobody sees. What
// the sink took before is in no checkpoint, so it is told again.
func TestASinkThatIsAwayForAnHourGetsAllInOrder(t *testing.T) {
	const step, before, hour = 12 * time.Second, 3, 300 // steps
	c := newCluster(t)
	w := c.started()
	requests := make([]*v1alpha1.AccessRequest, 0, before+hour)
	taken := 0
	for i := range before + hour {
		if i == before {
			c.away, taken = true, len(c.taken)
		}
		if i == before+hour/2 {
			w = nil // killed
		}
		req := c.ask(w, fmt.Sprint("r-", i))
		requests = append(requests, req)
		c.approve(w, req)
		c.grant(w, req)
		if i >= 10 {
			c.end(w, requests[i-10])
		}
		if w == nil {
			w = c.started()
		}
		w.tellAll()
		c.clock.Step(step)
	}
	if taken == 0 || len(c.taken) != taken {
		t.Fatalf("the sink took %d lines before it went away, and %d until it was back", taken, len(c.taken))
	}
	c.away = false
	w.tellAll()
	c.check()
	c.checkOrder()
	if len(c.toldIDs()) <= len(c.happened) {
		t.Error("nothing was told twice: the kill was of no consequence")
	}
}

// A request is kept for a sink that is away, and so are its decisions, which go with it.
func TestWhatIsDeletedWhileASinkIsAwayIsToldAsOfThen(t *testing.T) {
	c := newCluster(t)
	w := c.started()
	c.away = true
	req := c.ask(w, "debug")
	c.approve(w, req)
	c.grant(w, req)
	c.clock.Step(time.Hour)
	then := c.now()
	c.delete(w, req)
	c.happened = append(c.happened, string(req.UID)+"/ended")
	c.clock.Step(4 * time.Hour)
	c.away = false
	w.tellAll()
	c.check()
	for _, line := range c.taken {
		var r audit.Record
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		if last := r.Type == audit.Ended || r.Type == audit.Forgotten; last && !r.Time.Equal(then.Time) {
			t.Errorf("it was deleted at %s: %s", then, line)
		}
	}
}

// Whoever may decide may make as many decisions as he likes.
func TestManyDecisionsLeaveRoomForWhatIsGone(t *testing.T) {
	c := newCluster(t)
	w := c.started()
	c.away = true
	req, other := c.ask(w, "debug"), c.ask(w, "other")
	w.inbox.kept = maxKept/2 - 1
	c.approve(w, req)
	if w.inbox.kept != maxKept/2-1 {
		t.Error("a decision takes the room of what is gone")
	}
	c.delete(w, other)
	if lost := w.inbox.lost(); lost != 0 || w.inbox.kept < maxKept/2 {
		t.Errorf("%d requests were not kept", lost)
	}
}

// After a watch was down, an informer shows one change from a request to another one of its name.
func TestARequestThatWasMadeAnewUnseenIsTwo(t *testing.T) {
	c := newCluster(t)
	w := c.started()
	old := c.ask(w, "debug")
	w.tellAll()
	again := old.DeepCopy()
	again.UID, again.CreationTimestamp = "uid-again", c.now()
	again.Status.Approvals = []v1alpha1.Approval{{Decision: "nobody-shows-it", Reviewer: "bob", Time: c.now()}}
	c.stamp(again)
	c.requests[client.ObjectKeyFromObject(again)] = again
	c.happened = append(c.happened, string(old.UID)+"/forgotten", string(again.UID)+"/asked")
	w.Teller.inbox.requests().Update(t.Context(), event.UpdateEvent{ObjectOld: old, ObjectNew: again.DeepCopy()}, w.queue)
	for range 3 { // it waits for that decision
		w.tellAll()
	}
	c.clock.Step(patience + time.Second)
	w.tellAll()
	c.check()
	if got, want := c.toldIDs(), []string{"uid-debug/asked", "uid-debug/forgotten", "uid-again/asked"}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	if len(w.told) != 1 {
		t.Errorf("remembered: %v", w.told)
	}
}

// checkOrder of what was told of each request. What is told again has the same ID, and says
// that the same happened at the same time.
func (c *cluster) checkOrder() {
	c.t.Helper()
	want, got, first := map[string][]string{}, map[string][]string{}, map[string]audit.Record{}
	for _, id := range c.happened {
		name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(id, "uid-"), "approve-"), "/")
		want[name] = append(want[name], id)
	}
	for _, line := range c.taken {
		var r audit.Record
		if err := json.Unmarshal(line, &r); err != nil {
			c.t.Fatal(err)
		}
		if r.Data.Request == nil {
			continue
		}
		known, again := first[r.ID]
		if again && (known.Type != r.Type || known.Subject != r.Subject || !known.Time.Equal(r.Time)) {
			c.t.Errorf("%s is told twice and differs: %s", r.ID, line)
		}
		if !again {
			first[r.ID] = r
			got[r.Data.Request.Name] = append(got[r.Data.Request.Name], r.ID)
		}
	}
	for name, ids := range want {
		if !slices.Equal(got[name], ids) {
			c.t.Errorf("of %s was told %v, want %v", name, got[name], ids)
		}
	}
}
