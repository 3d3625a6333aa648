// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package telling

import (
	"context"
	"errors"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/lapse-dev/lapse/internal/audit"
	"github.com/lapse-dev/lapse/internal/metrics"
	"github.com/lapse-dev/lapse/internal/receiver"
)

// book is the chain of one writer, which one sink takes record by record. What is not taken is
// tried again, and what comes after it waits.
type book struct {
	sink   Sink
	redact bool

	// delivering is held by whoever gives records to the sink.
	delivering sync.Mutex
	insistence

	mu sync.Mutex
	// chain of what was taken, and pending, which comes next.
	chain   audit.Chain
	pending []audit.Record
	closed  bool
}

// writeTimeout bounds one attempt to deliver a record.
const writeTimeout = 10 * time.Second

// errClosed says that the writer has ended.
var errClosed = errors.New("the book of records is closed")

// errRefused says that a sink understood a record and does not want it.
var errRefused = receiver.ErrRefused

// add what is to be delivered next.
func (b *book) add(records ...audit.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return errClosed
	}
	b.pending = append(b.pending, records...)
	return nil
}

// flush delivers all that was added. An error means that the context ended before.
func (b *book) flush(ctx context.Context) error {
	b.delivering.Lock()
	defer b.delivering.Unlock()
	for {
		r, ok := b.next()
		if !ok {
			return nil
		}
		deliver := func(ctx context.Context) error { return b.deliver(ctx, r) }
		less := func(ctx context.Context, refusal error) error { return b.deliverLess(ctx, r, refusal) }
		if err := b.until(ctx, r.ID, deliver, less); err != nil {
			return err
		}
	}
}

func (b *book) next() (audit.Record, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.pending) == 0 {
		return audit.Record{}, false
	}
	return b.pending[0], true
}

// deliver the next record of the chain, in one attempt.
func (b *book) deliver(ctx context.Context, r audit.Record) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if b.redact {
		r = r.Redacted()
	}
	chain := b.chain // only who delivers changes it
	line, err := chain.Append(r)
	if err != nil {
		return err
	}
	if err := b.sink.Write(ctx, line); err != nil {
		metrics.RecordFailed(b.sink.Name)
		return err
	}
	metrics.RecordTold(b.sink.Name)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.chain, b.pending = chain, b.pending[1:]
	return nil
}

// deliverLess delivers a record that the sink refuses, without what people wrote, or else
// without all that it says. Who asks chooses the words, and could keep all other records from
// a receiver by words that it, or a firewall before it, never takes.
func (b *book) deliverLess(ctx context.Context, r audit.Record, refusal error) error {
	if r.Data.Request == nil {
		return refusal
	}
	for _, less := range r.Withheld(refusal.Error()) {
		if b.deliver(ctx, less) == nil {
			metrics.RecordWithheld(b.sink.Name)
			log.FromContext(ctx).Error(refusal, "a record was told without what it says", "sink", b.sink.Name, "record", r.ID)
			return nil
		}
	}
	return refusal
}

// close says that the writer ends, and delivers until the context ends. Who never began does
// not end.
func (b *book) close(ctx context.Context, r audit.Record) error {
	b.mu.Lock()
	said := b.closed || b.chain.Head().Sequence == 0
	b.closed = true
	if !said {
		b.pending = append(b.pending, r)
	}
	b.mu.Unlock()
	if said {
		return nil
	}
	return b.flush(ctx)
}

// owes is how many records wait.
func (b *book) owes() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.pending)
}

// head is the last record that the sink took.
func (b *book) head() audit.Head {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.chain.Head()
}
