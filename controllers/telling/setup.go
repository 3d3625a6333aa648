// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package telling

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/audit"
	"github.com/lapse-dev/lapse/internal/servertime"
)

const (
	// requestUIDField is the selectable field of AccessDecision, which granting has indexed.
	requestUIDField = "spec.requestRef.uid"
	// checkpointEvery is how often it is said up to where records are delivered, if there is anything new.
	checkpointEvery = time.Minute
	// gapEvery is how often it is looked whether the admission policies are in force.
	gapEvery = time.Second
	// closeTimeout bounds the last deliveries of a writer that ends.
	closeTimeout = 3 * time.Second
)

// Sink is where records are written to.
type Sink struct {
	// Name in messages and metrics, of the operator's own choice.
	Name string
	// Write one line, without its newline. An error has it tried again.
	Write func(context.Context, []byte) error
}

// Options are what telling needs from outside.
type Options struct {
	// Cached reads from a cache that indexes decisions by their request.
	Cached client.Reader
	// Live reads past the cache.
	Live client.Reader
	// Writer writes checkpoints.
	Writer client.Writer
	// Clock shows the API server's time.
	Clock *servertime.Clock
	// Namespace of the checkpoints.
	Namespace string
	// Name of this writer, which no other has.
	Name string
	// Version of the operator.
	Version string
	// Admission says why the admission policies are not in force; empty while they are, or
	// nobody knows.
	Admission func() string
	// Sinks of all records.
	Sinks []Sink
	// Signer signs the last record at each checkpoint; nil signs none.
	Signer note.Signer
	// Redact leaves out what people wrote.
	Redact bool
}

// New has all that it needs from the options.
func New(o Options) *Teller {
	b := &book{chain: audit.NewChain(o.Name), redact: o.Redact}
	for _, s := range o.Sinks {
		b.sinks = append(b.sinks, newSink(s.Name, o.Clock.Here, s.Write))
	}
	return &Teller{
		cached: o.Cached, clock: o.Clock, name: o.Name, version: o.Version, admission: o.Admission, inbox: newInbox(), book: b,
		checkpoints: checkpoints{o.Writer, o.Live, o.Namespace, o.Signer}, told: map[types.UID][]recordID{},
	}
}

// Setup adds to the manager what tells.
func Setup(mgr ctrl.Manager, o Options) error {
	t := New(o)
	return errors.Join(
		mgr.Add(manager.RunnableFunc(t.Start)),
		ctrl.NewControllerManagedBy(mgr).Named("records").
			Watches(&v1alpha1.AccessRequest{}, t.inbox.requests()).
			Watches(&v1alpha1.AccessDecision{}, t.inbox.decisions()).
			WithOptions(controller.Options{MaxConcurrentReconciles: 1}).
			Complete(t),
	)
}

// Start delivers records and writes checkpoints until the context ends, and closes the book.
func (t *Teller) Start(ctx context.Context) error {
	var delivering sync.WaitGroup
	for _, s := range t.book.sinks {
		delivering.Go(func() { s.run(ctx) })
	}
	ticks, looks := t.clock.Here.NewTicker(checkpointEvery), t.clock.Here.NewTicker(gapEvery)
	defer ticks.Stop()
	defer looks.Stop()
	for last := (checkpoint{}); ; {
		select {
		case <-looks.C():
			if err := t.tellGap(ctx); err != nil {
				log.FromContext(ctx).Error(err, "it is not told yet whether the admission policies are in force")
			}
		case <-ticks.C():
			last = t.checkpoint(ctx, last)
		case <-ctx.Done():
			delivering.Wait()
			t.close(context.WithoutCancel(ctx), last)
			return nil
		}
	}
}

// checkpoint writes one, if there is anything new.
func (t *Teller) checkpoint(ctx context.Context, last checkpoint) checkpoint {
	now := checkpoint{t.book.delivered(t.inbox.told()), t.book.head()}
	if now == last || now.Head == (audit.Head{}) {
		return last // nobody wrote anything, and the writer before is the last still
	}
	if err := t.checkpoints.write(ctx, t.clock.Now(), now); err != nil {
		log.FromContext(ctx).Error(err, "records are told again from the last checkpoint if the operator starts anew")
		return last
	}
	return now
}

func (t *Teller) close(ctx context.Context, last checkpoint) {
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	if err := t.book.close(ctx, t.own(audit.WriterEnded, "ended", audit.Data{})); err != nil {
		log.FromContext(ctx).Error(fmt.Errorf("the last records: %w", err), "they are told again when the operator starts anew")
	}
	t.checkpoint(ctx, last)
}
