// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package ending

import (
	"sync"
	"time"
)

const (
	// manyEnds within manyWithin are many: twice as many as end at once.
	manyEnds = 2 * workers
	// manyWithin is the time in which manyEnds are so many that what records them gives way.
	manyWithin = time.Second
)

// recentEnds knows whether many grants are ending at the moment. While they do, what
// records it gives way: every write that is not a deletion makes another access last
// longer. The zero value is usable.
type recentEnds struct {
	mu   sync.Mutex
	ends [manyEnds]time.Time
	next int
}

// add notes an end.
func (e *recentEnds) add(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ends[e.next] = now
	e.next = (e.next + 1) % manyEnds
}

// many says whether there were many.
func (e *recentEnds) many(now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	oldest := e.ends[e.next]
	return !oldest.IsZero() && now.Sub(oldest) < manyWithin
}
