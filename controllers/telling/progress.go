// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package telling

import (
	"sync"
	"time"

	"github.com/lapse-dev/lapse/internal/audit"
)

// behindAfter is how long a sink may owe records and take none until people are told.
const behindAfter = 5 * time.Minute

// progress is when a sink last owed nothing or took something.
type progress struct {
	mu   sync.Mutex
	head audit.Head
	at   time.Time
}

func (p *progress) look(owes bool, head audit.Head, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !owes || head != p.head || p.at.IsZero() {
		p.head, p.at = head, now
	}
}

func (p *progress) behind(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.at.IsZero() && now.Sub(p.at) > behindAfter
}

// Behind names the sinks that owe records and have taken none for some minutes.
func (ts *Tellers) Behind() (names []string) {
	for _, t := range ts.all {
		if t.progress.behind(ts.clock.Here.Now()) {
			names = append(names, t.book.sink.Name)
		}
	}
	return names
}
