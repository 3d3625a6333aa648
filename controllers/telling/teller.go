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
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/audit"
	"github.com/lapse-dev/lapse/internal/servertime"
)

// Teller writes what requests and their decisions say that happened, each record once while
// it runs. Only one request at a time is told of.
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
	// gap is what was told of that last.
	gap string

	beginning sync.Mutex
	// source is the cluster, by the UID of its kube-system.
	source string
	// since is up to where all was told before this writer began; nil until that is known.
	since *mark
	// told are the records that were told, by their IDs, of requests that are there.
	told map[types.UID][]recordID
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
	for _, gone := range m.gone {
		if err := t.tellGone(ctx, gone, m.at); err != nil {
			return ctrl.Result{}, err
		}
	}
	req := &v1alpha1.AccessRequest{}
	err := t.cached.Get(ctx, key.NamespacedName, req)
	if err == nil {
		err = t.tell(ctx, req, m.at)
	}
	if errors.Is(err, errEarly) {
		return ctrl.Result{RequeueAfter: lookAgain}, nil
	}
	if err = client.IgnoreNotFound(err); err != nil {
		return ctrl.Result{}, err
	}
	t.inbox.done(key.NamespacedName)
	return ctrl.Result{}, nil
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
	last, err := t.checkpoints.read(ctx)
	if err != nil {
		return fmt.Errorf("reading up to where records were told: %w", err)
	}
	began := &audit.Began{Version: t.version}
	if last.Head.Writer != "" {
		began.Predecessor = &last.Head
	}
	err = t.book.write(t.own(audit.WriterBegan, "began", audit.Data{Began: began}), mark{})
	if err == nil {
		t.since = &last.mark
	}
	return err
}

// own is a record of the writer itself.
func (t *Teller) own(what audit.Type, name string, data audit.Data) audit.Record {
	return audit.Record{
		SpecVersion: "1.0", ID: t.name + "/" + name, Source: t.source, Type: what, Time: t.clock.Now().UTC().Truncate(time.Millisecond),
		DataContentType: "application/json", Data: data,
	}
}

// tellGap tells that the admission policies went out of force, and that they are back.
func (t *Teller) tellGap(ctx context.Context) error {
	problem := t.admission()
	if problem == t.gap {
		return nil
	}
	if err := t.begin(ctx); err != nil {
		return err
	}
	what, name, cause := audit.GapBegan, "gapbegan", problem
	if problem == "" {
		what, name, cause = audit.GapEnded, "gapended", t.gap
	}
	r := t.own(what, name, audit.Data{Gap: cause})
	r.ID += "/" + r.Time.Format(time.RFC3339Nano) // there may be many
	err := t.book.write(r, mark{})
	if err == nil {
		t.gap = problem
	}
	return err
}

// errEarly says that a request knows of a decision that the cache does not show yet.
var errEarly = errors.New("a decision that counted is not seen yet")

func (t *Teller) tell(ctx context.Context, req *v1alpha1.AccessRequest, at mark) error {
	decisions, err := t.decisions(ctx, req)
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
	return t.write(req.UID, records, at)
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

func (t *Teller) decisions(ctx context.Context, req *v1alpha1.AccessRequest) ([]v1alpha1.AccessDecision, error) {
	list := &v1alpha1.AccessDecisionList{}
	if err := t.cached.List(ctx, list, client.InNamespace(req.Namespace), client.MatchingFields{requestUIDField: string(req.UID)}); err != nil {
		return nil, fmt.Errorf("listing decisions: %w", err)
	}
	return list.Items, nil
}

// tellGone tells the rest of a request that was deleted.
func (t *Teller) tellGone(ctx context.Context, req *v1alpha1.AccessRequest, at mark) error {
	decisions, err := t.decisions(ctx, req)
	if err != nil {
		return err
	}
	records := append(audit.Of(t.source, req, decisions), audit.Gone(t.source, req, t.clock.Now().Truncate(time.Second))...)
	if err := t.write(req.UID, records, at); err != nil {
		return err
	}
	delete(t.told, req.UID)
	return nil
}

// write what was not told yet.
func (t *Teller) write(uid types.UID, records []audit.Record, at mark) error {
	for i := range records {
		if slices.Contains(t.told[uid], idOf(&records[i])) {
			continue
		}
		if err := t.book.write(records[i], at); err != nil {
			return err
		}
		t.remember(uid, records[i:i+1])
	}
	return nil
}

func (t *Teller) remember(uid types.UID, records []audit.Record) {
	for i := range records {
		t.told[uid] = append(t.told[uid], idOf(&records[i]))
	}
}
