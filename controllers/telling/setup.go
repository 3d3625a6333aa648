// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package telling

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/audit"
	"github.com/lapse-dev/lapse/internal/metrics"
	"github.com/lapse-dev/lapse/internal/servertime"
)

const (
	// requestUIDField is the selectable field of AccessDecision, which granting has indexed.
	requestUIDField = "spec.requestRef.uid"
	// checkpointEvery is how often it is said up to where records are delivered, if there is anything new.
	checkpointEvery = time.Minute
	// lookEvery is how often it is looked whether the admission policies are in force.
	lookEvery = time.Second
	// closeTimeout bounds the last deliveries of writers that end, and then the last checkpoint.
	closeTimeout = 3 * time.Second
)

// Sink is where records are written to.
type Sink struct {
	// Name in messages, metrics and the checkpoint: it must be the same at the next start.
	Name string
	// Target is what the log calls it: no more of a URL than its host.
	Target string
	// Write one line, without its newline. An error has it tried again. It ends with its
	// context: writers that end wait for each other.
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
	// Name of this process, which no other has.
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

// Tellers are one for each sink.
type Tellers struct {
	all         []*Teller
	checkpoints checkpoints
	clock       *servertime.Clock
	// last are the checkpoints that were written last, by sink.
	last map[string]checkpoint
}

// New has all that it needs from the options.
func New(o Options) *Tellers {
	ts := &Tellers{checkpoints: checkpoints{o.Writer, o.Live, o.Namespace, o.Signer}, clock: o.Clock, last: map[string]checkpoint{}}
	for _, s := range o.Sinks {
		metrics.RecordSink(s.Name)
		name := o.Name + "/" + s.Name
		ts.all = append(ts.all, &Teller{
			cached: o.Cached, clock: o.Clock, name: name, version: o.Version, admission: o.Admission, inbox: newInbox(o.Clock.Now), checkpoints: ts.checkpoints,
			book: &book{sink: s, insistence: insistence{name: s.Name, clock: o.Clock.Here}, redact: o.Redact, chain: *audit.NewChain(name)}, told: map[types.UID]sets.Set[recordID]{},
		})
	}
	return ts
}

// Setup adds to the manager what tells.
func Setup(mgr ctrl.Manager, o Options) (*Tellers, error) {
	ts := New(o)
	err := mgr.Add(manager.RunnableFunc(ts.Start))
	for _, t := range ts.all {
		mgr.GetLogger().Info("records go to a sink", "sink", t.book.sink.Name, "target", t.book.sink.Target)
		err = errors.Join(err, ctrl.NewControllerManagedBy(mgr).Named("records-"+t.book.sink.Name).
			Watches(&v1alpha1.AccessRequest{}, t.inbox.requests()).
			Watches(&v1alpha1.AccessDecision{}, t.inbox.decisions()).
			WithOptions(controller.Options{
				MaxConcurrentReconciles: 1,
				RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
			}).
			Complete(t))
	}
	return ts, err
}

// Start writes checkpoints until the context ends, and closes the books.
func (ts *Tellers) Start(ctx context.Context) error {
	var running sync.WaitGroup
	for _, t := range ts.all {
		running.Go(func() { wait.UntilWithContext(ctx, t.lookAround, lookEvery) })
		running.Go(func() { wait.UntilWithContext(ctx, t.deliver, lookEvery) })
	}
	wait.UntilWithContext(ctx, ts.checkpoint, checkpointEvery)
	running.Wait()
	ts.close(context.WithoutCancel(ctx))
	return nil
}

func (t *Teller) lookAround(ctx context.Context) {
	if err := t.look(ctx); err != nil {
		log.FromContext(ctx).Error(err, "it is not told yet whether the admission policies are in force")
	}
}

// deliver what the writer says of its own while there is nothing else to tell.
func (t *Teller) deliver(ctx context.Context) { _ = t.book.flush(ctx) }

// checkpoint writes what is new.
func (ts *Tellers) checkpoint(ctx context.Context) {
	points := map[string]checkpoint{}
	for _, t := range ts.all {
		name, now := t.book.sink.Name, checkpoint{t.inbox.told(), t.book.head()}
		if now != ts.last[name] && now.Head.Sequence > 0 { // else the writer before is the last still
			points[name] = now
		}
	}
	if len(points) == 0 {
		return
	}
	if err := ts.checkpoints.write(ctx, ts.clock.Now(), points); err != nil {
		log.FromContext(ctx).Error(err, "records are told again from the last checkpoint if the operator starts anew")
		return
	}
	maps.Copy(ts.last, points)
}

func (ts *Tellers) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	var closing sync.WaitGroup
	for _, t := range ts.all {
		closing.Go(func() { t.close(ctx) })
	}
	closing.Wait()
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer stop()
	ts.checkpoint(ctx)
}

func (t *Teller) close(ctx context.Context) {
	if err := t.book.close(ctx, t.own(audit.WriterEnded, "ended", audit.Data{})); err != nil {
		log.FromContext(ctx).Error(err, "the last records are told again when the operator starts anew")
	}
}
