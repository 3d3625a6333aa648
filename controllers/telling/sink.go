// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package telling

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/lapse-dev/lapse/internal/audit"
	"github.com/lapse-dev/lapse/internal/metrics"
)

// sink takes lines one after the other. What it does not take is tried again, and keeps no
// other sink waiting.
type sink struct {
	name  string
	clock clock.Clock
	write func(context.Context, []byte) error

	mu     sync.Mutex
	queued []entry
	bytes  int // of their lines
	// dropped is the oldest that was dropped: it is owed until the operator starts anew.
	dropped mark
	last    audit.Head    // of what was taken
	more    chan struct{} // has room for one
}

func newSink(name string, c clock.Clock, write func(context.Context, []byte) error) *sink {
	metrics.RecordSink(name)
	return &sink{name: name, clock: c, write: write, more: make(chan struct{}, 1)}
}

// put queues a line. One too many is dropped, and counted: what is older is kept.
func (s *sink) put(e entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queued) >= maxQueued || s.bytes+len(e.line) > maxQueuedBytes {
		s.dropped = s.dropped.oldest(e.at)
		metrics.RecordDropped(s.name)
		return
	}
	s.queued, s.bytes = append(s.queued, e), s.bytes+len(e.line)
	metrics.RecordsBehind(s.name, len(s.queued))
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// owes is the oldest of what was not taken yet; zero if there is nothing.
func (s *sink) owes() mark {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.dropped
	for _, e := range s.queued {
		m = m.oldest(e.at)
	}
	return m
}

// head is the last record that it took.
func (s *sink) head() audit.Head {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

func (s *sink) next() (entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queued) == 0 {
		return entry{}, false
	}
	return s.queued[0], true
}

func (s *sink) taken() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.bytes = s.queued[0].head, s.bytes-len(s.queued[0].line)
	s.queued = s.queued[1:]
	metrics.RecordTold(s.name)
	metrics.RecordsBehind(s.name, len(s.queued))
}

// run delivers until the context ends.
func (s *sink) run(ctx context.Context) {
	retry := firstRetry
	for {
		e, ok := s.next()
		if !ok {
			select {
			case <-s.more:
				continue
			case <-ctx.Done():
				return
			}
		}
		if s.deliver(ctx, e) {
			retry = firstRetry
			continue
		}
		select {
		case <-s.clock.After(retry):
			retry = min(2*retry, lastRetry)
		case <-ctx.Done():
			return
		}
	}
}

func (s *sink) deliver(ctx context.Context, e entry) bool {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := s.write(ctx, e.line); err != nil {
		metrics.RecordFailed(s.name)
		log.FromContext(ctx).Error(err, "a record could not be delivered; it is tried again", "sink", s.name)
		return false
	}
	s.taken()
	return true
}

// flush delivers all there is, without a pause, until the context ends. Nothing else may be
// delivering.
func (s *sink) flush(ctx context.Context) error {
	for {
		e, ok := s.next()
		if !ok {
			return nil
		}
		if err := s.write(ctx, e.line); err != nil {
			return fmt.Errorf("sink %s: %w", s.name, err)
		}
		s.taken()
	}
}
