// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"sync"
	"time"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

const (
	// burstEnds within burstWindow are a burst: twice as many as end at once.
	burstEnds   = 2 * workers
	burstWindow = time.Second
	// yieldFor is when a request that gave way is looked at again.
	yieldFor = 2 * time.Second
	// maxYield is how long after a deadline its record gives way.
	maxYield = 15 * time.Second
)

// burst knows whether many grants are ending at the moment. While they do, what records
// it gives way: every write that is not a deletion makes another access last longer. The
// zero value is usable.
type burst struct {
	mu   sync.Mutex
	ends [burstEnds]time.Time
	next int
}

// add notes an end.
func (b *burst) add(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ends[b.next] = now
	b.next = (b.next + 1) % burstEnds
}

// on says whether there is a burst.
func (b *burst) on(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	oldest := b.ends[b.next]
	return !oldest.IsZero() && now.Sub(oldest) < burstWindow
}

// yields says whether recording the end of a grant can wait: its deadline has just
// passed, and the ExpiryReconciler is busy ending many.
func (r *RequestReconciler) yields(now time.Time, req *v1alpha1.AccessRequest) bool {
	g := req.Status.Grant
	return r.Ending != nil && req.Status.State == v1alpha1.StateActive && g != nil && req.DeletionTimestamp == nil &&
		!now.Before(g.ExpiresAt.Time) && now.Before(g.ExpiresAt.Add(maxYield)) && r.Ending()
}
