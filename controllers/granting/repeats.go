// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

const (
	// waitingRepeats is how many judgements of requests that have an answer already may wait
	// for their turn, each on a seat: those that more would have are for first judgements.
	waitingRepeats = 2
	// decidedRepeats is how many may, if somebody said yes or no meanwhile.
	decidedRepeats = 6
)

// repeats are judgements of requests that were judged before, one at a time: several at once
// would take all processors from requests that wait for their first answer.
type repeats struct {
	turn    chan struct{} // has room for one
	waiting atomic.Int32

	mu sync.Mutex
	// next is when the next request may come back that found too many waiting.
	next time.Time
}

func newRepeats() *repeats { return &repeats{turn: make(chan struct{}, 1)} }

// take the turn, and give it back by what is returned. An error means that the context ended.
func (r *repeats) take(ctx context.Context) (done func(), err error) {
	r.waiting.Add(1)
	defer r.waiting.Add(-1)
	select {
	case r.turn <- struct{}{}:
		return func() { <-r.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// comeBack is how long a request that found too many waiting stays away. One comes back after
// the other.
func (r *repeats) comeBack(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next.Before(now) {
		r.next = now
	}
	r.next = r.next.Add(judgePace)
	return r.next.Sub(now)
}

// crowded says whether a request that waits has to come back: as many as may be wait for their
// turn already. What somebody may hold does not wait.
func (r *RequestReconciler) crowded(ctx context.Context, req *v1alpha1.AccessRequest) bool {
	n := r.judges.repeats.waiting.Load()
	if n < waitingRepeats || standingOf(req) != waiting || bound(ctx, r.client, req) {
		return false
	}
	decisions, err := decisionsOn(ctx, r.client, req)
	return err != nil || len(decisions) == 0 || n >= decidedRepeats
}
