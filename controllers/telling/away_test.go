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

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/audit"
)

// The writer is killed in the middle of the hour, while things happen that nobody sees. What
// the sink took before is in no checkpoint, so it is told again.
func TestASinkThatIsAwayForAnHourGetsAllInOrder(t *testing.T) {
	const step, before, hour = 12 * time.Second, 3, 300 // steps
	c := newCluster(t)
	w := c.started()
	var requests []*v1alpha1.AccessRequest
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
