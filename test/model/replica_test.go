// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/go-logr/logr"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/controllers/ending"
	"github.com/lapse-dev/lapse/controllers/granting"
	"github.com/lapse-dev/lapse/internal/admission"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/servertime"
)

// machine is a scenario and all that was worked out about it. It is shared by the
// workers.
type machine struct {
	scenario
	objects *objects
	changes *memo[change, id]    // of objects
	callIDs *memo[call, id]      // to their ids
	asked   arena[call]          // by their ids
	trails  *memo[branch, trail] // to their ids
	points  arena[point]         // by the ids of their trails
	verdict *memo[resting, string]
	excused atomic.Int64
	runs    atomic.Int64 // of a reconciler, to its next call
}

func newMachine(s scenario) *machine {
	return &machine{
		scenario: s, objects: newObjects(), changes: newMemo[change, id](), callIDs: newMemo[call, id](),
		trails: newMemo[branch, trail](), verdict: newMemo[resting, string](),
	}
}

func (m *machine) put(v any) id { return m.objects.put(v) }

// change is what makes a version of an object out of another one.
type change struct {
	from id
	call call
	now  uint8
	made uint8
	edit string
}

// trail is where a reconciler is: what it was started for, and the answers that it
// had. 0 is nowhere: it is not running.
type trail = id

// branch is one answer more on a trail, or the beginning of one.
type branch struct {
	from   trail
	answer id
	job    job
	now    uint8
}

// job is what a reconciler is started for.
type job uint8

const (
	toGrant job = iota
	toEnd       // the binding of the first slot; those of others follow
)

// point is the end of a trail.
type point struct {
	branch
	next *atomic.Int32 // the call that follows, 0 while that is not known
}

func (m *machine) follow(b branch) trail {
	if b.from != 0 {
		b.job, b.now = 0, 0
	}
	return m.trails.get(b, func() trail {
		p := point{branch: b, next: new(atomic.Int32)}
		if b.from != 0 {
			p.job, p.now = m.points.at(b.from).job, m.points.at(b.from).now
		}
		return m.points.add(p)
	})
}

// answers are those on a trail, the first one first.
func (m *machine) answers(t trail) []id {
	var out []id
	for p := m.points.at(t); p.from != 0; p = m.points.at(p.from) {
		out = append(out, p.answer)
	}
	slices.Reverse(out)
	return out
}

// operator runs the reconcilers for one worker.
type operator struct {
	*machine
	granting *granting.RequestReconciler
	ending   reconcile.Reconciler
	clock    *clocktesting.FakeClock
	ctx      context.Context

	// Of the run.
	caches   *replica
	trail    trail
	answers  []id
	pos      int
	looks    bool     // what has no order is about to be read
	others   []func() // what is still to be read beside the binding and the request
	tooEarly *id      // the request, read before its turn
}

func newOperator(m *machine) *operator {
	o := &operator{machine: m, clock: clocktesting.NewFakeClock(start), ctx: log.IntoContext(context.Background(), logr.Discard())}
	api := apiClient{reader: reader{operator: o, cached: true}}
	granter := api
	granter.grants = true
	now := servertime.New(o.clock)
	o.granting = granting.NewRequestReconciler(granting.Options{
		Client: granter, Live: reader{operator: o, stale: m.stale}, Clock: now, Recorder: &events.FakeRecorder{},
		Admission: func() admission.State { return admission.State{Enforced: true} }, Busy: func() bool { return false },
		Memory: memory{o, m.bug}, Limits: policy.Limits{MaxDuration: ceiling * tick}, Retention: m.retention, AtOnce: o.atOnce,
	})
	synced := func() bool { return o.ask(call{verb: isSynced, cached: true}) == accepted }
	o.ending = ending.NewReconciler(ending.Options{
		Client: api, Live: reader{operator: o}, Clock: now, MaxDuration: ceiling * tick, Memory: memory{operator: o},
		RequestOf: granting.Known(api, synced), Leading: func() bool { return true },
	})
	return o
}

// begin starts a reconciler and takes it to its first call to the API server; nowhere
// if it makes none.
func (o *operator) begin(j job, now uint8, r *replica) trail {
	return o.toCall(o.follow(branch{job: j, now: now}), r)
}

// goOn gives a reconciler the answer that it waits for and takes it to its next call.
func (o *operator) goOn(t trail, answer id, r *replica) trail {
	return o.toCall(o.follow(branch{from: t, answer: answer}), r)
}

// callAt is the call that a reconciler is about to make.
func (m *machine) callAt(t trail) call { return *m.asked.at(id(m.points.at(t).next.Load())) }

// toCall answers from the caches until the API server is asked.
func (o *operator) toCall(t trail, r *replica) trail {
	for {
		if o.points.at(t).next.Load() == 0 {
			o.run(t, r)
		}
		switch c := o.callAt(t); {
		case c.verb == finish:
			return 0
		case c.verb == remember:
			o.remember(r, c.payload)
			t = o.follow(branch{from: t, answer: accepted})
		case !c.cached:
			return t
		default:
			t = o.follow(branch{from: t, answer: o.cachedAnswer(c, r)})
		}
	}
}

type stopped struct{}

// What client-go runs again and again logs the panics that pass through it. Ours are
// how a run stops; any other ends the test and is printed by that.
func init() { utilruntime.PanicHandlers = nil }

// run finds the call at the end of a trail, by running the reconciler again from its
// beginning with the answers that it had.
func (o *operator) run(t trail, r *replica) {
	p := o.points.at(t)
	o.runs.Add(1)
	o.caches, o.trail, o.answers, o.pos = r, t, o.machine.answers(t), 0
	o.looks, o.others, o.tooEarly = false, nil, nil
	o.clock.SetTime(at(p.now))
	defer func() {
		if problem := recover(); problem != nil && problem != any(stopped{}) {
			panic(problem)
		}
	}()
	key := ctrl.Request{NamespacedName: client.ObjectKey{Namespace: namespace, Name: requestName}}
	// Its error or its wish to be called again are of no use here: it may be run again
	// at any time.
	if p.job == toGrant {
		_, _ = o.granting.Reconcile(o.ctx, key)
	} else {
		key.Name = bindingNames[p.job-toEnd]
		_, _ = o.ending.Reconcile(o.ctx, key)
	}
	o.found(call{verb: finish})
}

// atOnce does one thing after the other, in the order of the scenario: a run that is repeated
// has to make the same calls.
func (o *operator) atOnce(first func() error, others ...func()) error {
	o.looks, o.others = true, others
	if o.beside == beforeBoth {
		o.readOthers()
	}
	if o.bug == requestFirst || o.bug == leavesOut {
		request := o.ask(call{verb: get, kind: requests})
		o.tooEarly = &request
	}
	err := first()
	o.readOthers()
	return err
}

func (o *operator) readOthers() {
	others := o.others
	o.others = nil
	for _, other := range others {
		other()
	}
}

// found notes the call that follows on the trail.
func (o *operator) found(c call) {
	n := o.callIDs.get(c, func() id { return o.asked.add(c) })
	o.points.at(o.trail).next.Store(int32(n))
}

// ask is where a reconciler meets the model. It stops the run if the answer is not
// known and no cache has it.
func (o *operator) ask(c call) id {
	if !c.cached {
		c.first, o.looks = o.looks && c.verb == get, false
	}
	if o.pos < len(o.answers) {
		o.pos++
		return o.answers[o.pos-1]
	}
	o.found(c)
	if !c.cached {
		panic(stopped{})
	}
	answer := o.cachedAnswer(c, o.caches)
	o.trail = o.follow(branch{from: o.trail, answer: answer})
	return answer
}

func (m *machine) sameRequest(a, b id) bool {
	return a != 0 && b != 0 && as[*v1alpha1.AccessRequest](m.objects, a).UID == as[*v1alpha1.AccessRequest](m.objects, b).UID
}

func (o *operator) cachedAnswer(c call, r *replica) id {
	switch {
	case c.verb == isSynced && !r.unsynced:
		return accepted
	case c.verb == isSynced:
		return no
	case c.verb == recall:
		return r.remembered[c.slot]
	case c.written && o.sameRequest(r.request, r.written):
		return r.written
	case c.kind == requests:
		return r.request
	case c.kind == bindings:
		return r.bindings[c.slot]
	case c.kind == decisions:
		return o.decisionsOn(r.decisions, c.uid)
	case c.kind == policies:
		return r.policy
	case c.kind == roles, c.kind == namespaces:
		return r.around.answer(c.kind)
	}
	panic("there is no cache of " + c.kind)
}
