// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package telling

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/audit"
	"github.com/lapse-dev/lapse/internal/metrics"
	"github.com/lapse-dev/lapse/internal/servertime"
)

// Teller tells one sink what requests and their decisions say that happened, each record once
// while it runs. It tells of one request at a time: when the sink is away, the others wait in
// the cluster, and not in memory.
type Teller struct {
	cached      client.Reader
	clock       *servertime.Clock
	inbox       *inbox
	book        *book
	checkpoints checkpoints
	// name of this writer, and the version that it is of.
	name, version string

	// admission says why the admission policies are not in force; empty while they are, or
	// nobody knows.
	admission func() string
	progress  progress
	// gap is what was told of that last, and missed what was not told yet.
	gap    string
	missed int

	beginning sync.Mutex
	// source is the cluster, by the UID of its kube-system.
	source string
	// since is up to where all was told before this writer began; nil until that is known.
	since *mark
	// told are the records that were told, by their IDs, of requests that are there.
	told map[types.UID]sets.Set[recordID]
}

type recordID [16]byte

func idOf(r *audit.Record) recordID {
	sum := sha256.Sum256([]byte(r.ID))
	return recordID(sum[:16])
}

// Reconcile tells what is new of one request.
func (t *Teller) Reconcile(ctx context.Context, key ctrl.Request) (ctrl.Result, error) {
	if err := t.begin(ctx); err != nil {
		return ctrl.Result{}, err
	}
	m := t.inbox.take(key.NamespacedName)
	if err := t.news(ctx, key.NamespacedName, m); errors.Is(err, errEarly) {
		return ctrl.Result{RequeueAfter: lookAgain}, nil
	} else if err != nil {
		return ctrl.Result{}, err
	}
	if err := t.book.flush(ctx); err != nil {
		return ctrl.Result{}, err
	}
	t.inbox.done(key.NamespacedName)
	for _, gone := range m.gone {
		delete(t.told, gone.req.UID)
	}
	return ctrl.Result{}, nil
}

// news adds to the book what is new of one request.
func (t *Teller) news(ctx context.Context, key types.NamespacedName, m mail) error {
	for _, gone := range m.gone {
		if err := t.tellGone(ctx, m, gone); err != nil {
			return err
		}
	}
	req := &v1alpha1.AccessRequest{}
	if err := t.cached.Get(ctx, key, req); err != nil {
		return client.IgnoreNotFound(err)
	}
	return t.tell(ctx, m, req)
}

// begin finds out up to where all was told, and introduces the writer.
func (t *Teller) begin(ctx context.Context) error {
	t.beginning.Lock()
	defer t.beginning.Unlock()
	if t.since != nil {
		return nil
	}
	system := &corev1.Namespace{}
	if err := t.checkpoints.live.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, system); err != nil {
		return fmt.Errorf("finding out which cluster this is: %w", err)
	}
	t.source = "/clusters/" + string(system.UID)
	last, err := t.checkpoints.read(ctx, t.book.sink.Name)
	if err != nil {
		return fmt.Errorf("reading up to where records were told: %w", err)
	}
	began := &audit.Began{Version: t.version}
	if last.Head.Writer != "" {
		began.Predecessor = &last.Head
	}
	if err := t.book.add(t.own(audit.WriterBegan, "began", audit.Data{Began: began})); err != nil {
		return err
	}
	t.since = &last.mark
	return nil
}

// own is a record of the writer itself.
func (t *Teller) own(what audit.Type, name string, data audit.Data) audit.Record {
	return audit.Record{
		SpecVersion: "1.0", ID: t.name + "/" + name, Source: t.source, Type: what, Time: t.clock.Now().UTC().Truncate(time.Millisecond),
		DataContentType: "application/json", Data: data,
	}
}

// maxOwn is how many records wait at the most until the writer has something to say of its own.
const maxOwn = 1000

// look adds what is new about the admission policies and about what was lost.
func (t *Teller) look(ctx context.Context) error {
	metrics.RecordsBehind(t.book.sink.Name, t.inbox.owed())
	t.progress.look(t.inbox.owed()+t.book.owes() > 0, t.book.head(), t.clock.Here.Now())
	if t.book.owes() > maxOwn {
		return nil
	}
	if problem := t.admission(); problem != t.gap {
		what, name, cause := audit.GapBegan, "gapbegan", problem
		if problem == "" {
			what, name, cause = audit.GapEnded, "gapended", t.gap
		}
		if err := t.say(ctx, what, name, audit.Data{Gap: cause}); err != nil {
			return err
		}
		t.gap = problem
	}
	if t.missed += t.inbox.lost(); t.missed > 0 {
		if err := t.say(ctx, audit.WriterMissed, "missed", audit.Data{Missed: int64(t.missed)}); err != nil {
			return err
		}
		metrics.RecordsDropped(t.book.sink.Name, t.missed)
		t.missed = 0
	}
	return nil
}

// say adds a record of the writer itself, of which there may be many.
func (t *Teller) say(ctx context.Context, what audit.Type, name string, data audit.Data) error {
	if err := t.begin(ctx); err != nil {
		return err
	}
	r := t.own(what, name, data)
	r.ID += "/" + r.Time.Format(time.RFC3339Nano)
	return t.book.add(r)
}

// errEarly says that a request knows of a decision that the cache does not show yet.
var errEarly = errors.New("a decision that counted is not seen yet")

func (t *Teller) tell(ctx context.Context, m mail, req *v1alpha1.AccessRequest) error {
	decisions, err := m.decisionsOn(ctx, t.cached, req)
	if err != nil {
		return err
	}
	records := audit.Of(t.source, req, decisions)
	if _, known := t.told[req.UID]; !known && t.since.covers(markOf(req, decisions)) {
		t.remember(req.UID, records) // by a writer before this one
		return nil
	}
	if lacks(req, decisions) && t.clock.Now().Sub(lastChange(req)) < patience {
		return errEarly
	}
	return t.add(req.UID, records)
}

const (
	// patience is how long a decision that counted is waited for, so that it is told before
	// what it let happen. It may have been deleted.
	patience = 10 * time.Second
	// lookAgain is how often such a decision is looked for.
	lookAgain = 100 * time.Millisecond
)

// lacks says whether an approval counted of which the decision is not there.
func lacks(req *v1alpha1.AccessRequest, decisions []v1alpha1.AccessDecision) bool {
	return slices.ContainsFunc(req.Status.Approvals, func(a v1alpha1.Approval) bool {
		return !slices.ContainsFunc(decisions, func(d v1alpha1.AccessDecision) bool { return d.Name == a.Decision })
	})
}

// lastChange is when the conditions of a request changed last.
func lastChange(req *v1alpha1.AccessRequest) time.Time {
	at := req.CreationTimestamp.Time
	for _, c := range req.Status.Conditions {
		if c.LastTransitionTime.After(at) {
			at = c.LastTransitionTime.Time
		}
	}
	return at
}

// markOf is the newest of a request and its decisions.
func markOf(req *v1alpha1.AccessRequest, decisions []v1alpha1.AccessDecision) mark {
	m := mark{Requests: version(req)}
	for i := range decisions {
		m = m.newest(mark{Decisions: version(&decisions[i])})
	}
	return m
}

// tellGone tells the rest of a request that was deleted.
func (t *Teller) tellGone(ctx context.Context, m mail, gone gone) error {
	decisions, err := m.decisionsOn(ctx, t.cached, gone.req)
	if err != nil {
		return err
	}
	records := audit.Of(t.source, gone.req, decisions)
	return t.add(gone.req.UID, append(records, audit.Gone(t.source, gone.req, gone.at.Truncate(time.Second))...))
}

// add what was not told yet.
func (t *Teller) add(uid types.UID, records []audit.Record) error {
	for i := range records {
		if t.told[uid].Has(idOf(&records[i])) {
			continue
		}
		if err := t.book.add(records[i]); err != nil {
			return err
		}
		t.remember(uid, records[i:i+1])
	}
	return nil
}

func (t *Teller) remember(uid types.UID, records []audit.Record) {
	if t.told[uid] == nil {
		t.told[uid] = sets.New[recordID]()
	}
	for i := range records {
		t.told[uid].Insert(idOf(&records[i]))
	}
}
