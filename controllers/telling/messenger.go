// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package telling

import (
	"context"
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
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/audit"
	"github.com/lapse-dev/lapse/internal/message"
	"github.com/lapse-dev/lapse/internal/metrics"
	"github.com/lapse-dev/lapse/internal/receiver"
)

const (
	// maxAge is how old what happened may be for somebody to be told of it: a receiver that is
	// back after days is not flooded.
	maxAge = 24 * time.Hour
	// statusLag is how much later than something happened its status may be written.
	statusLag = 10 * time.Minute
)

// messenger tells one receiver what is new of requests, each message once while it runs, and of
// one request at a time: when the receiver is away, the others wait in the cluster.
type messenger struct {
	o           MessageOptions
	to          *receiver.Receiver
	inbox       *inbox
	checkpoints checkpoints

	// sending is held by whoever sends.
	sending sync.Mutex
	insistence
	// told are the messages that were told, or need not be, of requests that are there.
	told map[types.UID]sets.Set[recordID]
	// broken and behind are what was told last of the guard and of sinks.
	broken bool
	behind []string

	mu sync.Mutex
	// source is the cluster, by the UID of its kube-system.
	source string
	// since is up to where all was told before this messenger began; nil until that is known.
	since *point
	// until is up to when all was told that is due at some time, due when the next is, and
	// sent how many messages were.
	until time.Time
	due   map[types.NamespacedName]time.Time
	sent  int
}

func newMessenger(o MessageOptions, to *receiver.Receiver) *messenger {
	metrics.MessageReceiver(to.Name)
	return &messenger{
		o: o, to: to, inbox: newInbox(o.Clock.Now), checkpoints: checkpoints{client: o.Writer, live: o.Live, namespace: o.Namespace},
		insistence: insistence{name: to.Name, clock: o.Clock.Here}, told: map[types.UID]sets.Set[recordID]{}, due: map[types.NamespacedName]time.Time{},
	}
}

// begin finds out up to where all was told. A receiver that is new is told what happens from
// now on. The informers have shown all that there is.
func (m *messenger) begin(ctx context.Context) error {
	system := &corev1.Namespace{}
	if err := m.o.Live.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, system); err != nil {
		return fmt.Errorf("finding out which cluster this is: %w", err)
	}
	since, err := m.checkpoints.readPoint(ctx, m.to.Name)
	if err != nil {
		return fmt.Errorf("reading up to where messages were told: %w", err)
	}
	if since == nil {
		since = &point{mark: m.inbox.newest(), Time: m.o.Clock.Now()}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.source, m.since, m.until = "/clusters/"+string(system.UID), since, since.Time
	return nil
}

// point is up to where messages were told; zero before begin.
func (m *messenger) point() (p point, sent int, begun bool) {
	told, owed, now := m.inbox.told(), m.inbox.owed(), m.o.Clock.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.since == nil {
		return point{}, 0, false
	}
	if owed == 0 { // else it is not known yet of all when the next message is due
		m.until = now
		for _, due := range m.due {
			if !due.After(m.until) {
				m.until = due.Add(-time.Millisecond)
			}
		}
	}
	return point{told, m.until}, m.sent, true
}

// Reconcile tells what is new of one request, and comes again when the next is due.
func (m *messenger) Reconcile(ctx context.Context, key ctrl.Request) (ctrl.Result, error) {
	got := m.inbox.take(key.NamespacedName)
	next, err := m.news(ctx, key.NamespacedName, got)
	if errors.Is(err, errEarly) {
		return ctrl.Result{RequeueAfter: lookAgain}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inbox.done(key.NamespacedName)
	for _, gone := range got.gone {
		delete(m.told, gone.req.UID)
	}
	if next.IsZero() {
		delete(m.due, key.NamespacedName)
		return ctrl.Result{}, nil
	}
	m.due[key.NamespacedName] = next
	return ctrl.Result{RequeueAfter: max(next.Sub(m.o.Clock.Now()), time.Millisecond)}, nil
}

func (m *messenger) news(ctx context.Context, key types.NamespacedName, got mail) (next time.Time, err error) {
	for _, gone := range got.gone {
		if _, err := m.tell(ctx, got, gone.req, true, gone.at); err != nil {
			return time.Time{}, err
		}
	}
	req := &v1alpha1.AccessRequest{}
	if err := m.o.Cached.Get(ctx, key, req); err != nil {
		return time.Time{}, client.IgnoreNotFound(err)
	}
	return m.tell(ctx, got, req, false, m.o.Clock.Now())
}

// tell what is new of a request as of a moment, and when more is due.
func (m *messenger) tell(ctx context.Context, got mail, req *v1alpha1.AccessRequest, gone bool, now time.Time) (next time.Time, err error) {
	decisions, err := got.decisionsOn(ctx, m.o.Cached, req)
	if err != nil {
		return time.Time{}, err
	}
	if !gone && lacks(req, decisions) && now.Sub(lastChange(req)) < patience {
		return time.Time{}, errEarly
	}
	p, err := m.policy(ctx, req)
	if err != nil {
		return time.Time{}, err
	}
	all, next := message.Of(message.View{Source: m.source, Request: req, Decisions: decisions, Policy: p, Gone: gone, Now: now}, m.to.Options)
	known, seen := m.told[req.UID]
	covered := m.since.covers(markOf(req, decisions))
	if !seen {
		known = sets.New[recordID]()
		m.told[req.UID] = known
	}
	for i := range all {
		if err := m.once(ctx, known, &all[i], seen || !m.before(&all[i], covered)); err != nil {
			return time.Time{}, err
		}
	}
	return next, nil
}

// once sends a message that is new, if the receiver wants it.
func (m *messenger) once(ctx context.Context, known sets.Set[recordID], one *message.Message, isNew bool) error {
	if known.Has(idOfMessage(one)) || !m.to.Wants(*one) {
		return nil
	}
	if isNew {
		if err := m.send(ctx, one); err != nil {
			return err
		}
	}
	known.Insert(idOfMessage(one))
	return nil
}

// policy that a request is under; nil if there is none, or it is gone.
func (m *messenger) policy(ctx context.Context, req *v1alpha1.AccessRequest) (*v1alpha1.AccessPolicy, error) {
	if req.Status.Policy == nil {
		return nil, nil
	}
	p := &v1alpha1.AccessPolicy{}
	if err := m.o.Cached.Get(ctx, client.ObjectKey{Name: req.Status.Policy.Name}, p); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	if p.UID != req.Status.Policy.UID {
		return nil, nil
	}
	return p, nil
}

// send a message, until the receiver takes it, it is of no use any more, or the context ends.
func (m *messenger) send(ctx context.Context, one *message.Message) error {
	m.sending.Lock()
	defer m.sending.Unlock()
	deliver := func(ctx context.Context) error {
		if m.useless(ctx, one) {
			return nil
		}
		return m.attempt(ctx, *one)
	}
	if err := m.insistence.until(ctx, one.ID, deliver, func(ctx context.Context, refusal error) error { return m.less(ctx, *one, refusal) }); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent++
	return nil
}

// useless is what is too old, or comes too late: the receiver may have been away for long.
func (m *messenger) useless(ctx context.Context, one *message.Message) bool {
	now := m.o.Clock.Now()
	if now.Sub(one.At) > maxAge {
		metrics.MessageDropped(m.to.Name)
		log.FromContext(ctx).Info("a message is dropped, since it is too old", "receiver", m.to.Name, "id", one.ID)
		return true
	}
	return one.TooLate(now)
}

func (m *messenger) attempt(ctx context.Context, one message.Message) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := taken(ctx, m.to.Name, m.to.Send(ctx, one)); err != nil {
		metrics.MessageFailed(m.to.Name)
		return err
	}
	metrics.MessageSent(m.to.Name)
	return nil
}

// less offers a message that is refused with less in it: whoever asks chooses the words, and
// could keep all other messages from a receiver.
func (m *messenger) less(ctx context.Context, one message.Message, refusal error) error {
	for _, less := range one.Less(refusal.Error()) {
		if m.attempt(ctx, less) == nil {
			metrics.MessageWithheld(m.to.Name)
			log.FromContext(ctx).Error(refusal, "a message was sent with less in it", "receiver", m.to.Name, "id", one.ID)
			return nil
		}
	}
	return refusal
}

// count what is owed and lost, also while a message cannot be delivered.
func (m *messenger) count(context.Context) {
	metrics.MessagesBehind(m.to.Name, m.inbox.owed())
	for range m.inbox.lost() {
		metrics.MessageDropped(m.to.Name)
	}
}

// look tells what is new of the guard and of sinks.
func (m *messenger) look(ctx context.Context) error {
	problem, now := m.o.Admission(), m.o.Clock.Now()
	if broken := problem != ""; broken != m.broken {
		if err := m.sendWanted(ctx, message.Guard(m.source, problem, now)); err != nil {
			return err
		}
		m.broken = broken
	}
	behind := m.o.Behind()
	for _, sink := range append(slices.Clone(m.behind), behind...) {
		was, is := slices.Contains(m.behind, sink), slices.Contains(behind, sink)
		if was == is {
			continue
		}
		if err := m.sendWanted(ctx, message.Records(m.source, sink, is, now)); err != nil {
			return err
		}
	}
	m.behind = behind
	return nil
}

func (m *messenger) sendWanted(ctx context.Context, one message.Message) error {
	if !m.to.Wants(one) {
		return nil
	}
	return m.send(ctx, &one)
}

func idOfMessage(one *message.Message) recordID { return idOf(&audit.Record{ID: one.ID}) }
