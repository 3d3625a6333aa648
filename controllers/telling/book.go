// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package telling

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lapse-dev/lapse/internal/audit"
)

// book is the chain of this writer, and where it is written to.
type book struct {
	mu     sync.Mutex
	chain  *audit.Chain
	closed bool
	sinks  []*sink
	redact bool
}

// errClosed says that the writer has ended.
var errClosed = errors.New("the book of records is closed")

// write a record, of which a mark says where it comes from.
func (b *book) write(r audit.Record, at mark) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return errClosed
	}
	return b.append(r, at)
}

func (b *book) append(r audit.Record, at mark) error {
	if b.redact {
		r = r.Redacted()
	}
	line, err := b.chain.Append(r)
	if err != nil {
		return err
	}
	for _, s := range b.sinks {
		s.put(entry{line, at, b.chain.Head()})
	}
	return nil
}

// close says that the writer ends, and waits a while until all is delivered.
func (b *book) close(ctx context.Context, r audit.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	said := b.closed || b.chain.Head().Sequence == 0 // who never began does not end
	b.closed = true
	if said {
		return nil
	}
	err := b.append(r, mark{})
	for _, s := range b.sinks {
		err = errors.Join(err, s.flush(ctx))
	}
	return err
}

// delivered is up to where all that was told is delivered too.
func (b *book) delivered(told mark) mark {
	for _, s := range b.sinks {
		told = told.before(s.owes())
	}
	return told
}

// head is the last record that all sinks have.
func (b *book) head() audit.Head {
	var head audit.Head
	for i, s := range b.sinks {
		if last := s.head(); i == 0 || last.Sequence < head.Sequence {
			head = last
		}
	}
	return head
}

// entry is a line that a sink has yet to take.
type entry struct {
	line []byte
	at   mark
	head audit.Head // of the chain, with this line
}

const (
	// maxQueued is how many lines a sink may owe: an hour of three in a second.
	maxQueued = 10_000
	// maxQueuedBytes bounds them besides: whoever asks chooses how long they are.
	maxQueuedBytes = 32 << 20
	// writeTimeout bounds one attempt to deliver a record.
	writeTimeout = 10 * time.Second
	// firstRetry is the pause before a record is tried again; the next is twice as long.
	firstRetry = 100 * time.Millisecond
	// lastRetry is the longest such pause.
	lastRetry = 30 * time.Second
)
