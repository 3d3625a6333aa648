// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/test/builders"
)

// Time goes in ticks. A grant lasts two, and the operator's ceiling is three.
const (
	tick     = 30 * time.Second
	lasts    = 2
	ceiling  = 3
	never    = 255
	replicas = 2
	// slots are for the bindings of the request and of the one that is created again
	// under its name: their names differ, since they end in the UID.
	slots = 2
)

var start = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)

func at(now uint8) time.Time { return start.Add(time.Duration(now) * tick) }

// ticksTo is the tick that a moment is at.
func ticksTo(t time.Time) uint8 { return uint8(t.Sub(start) / tick) }

// server is what the API server holds, and what the oracle has seen of it. Objects are
// the ids of their versions; 0 is none.
type server struct {
	now         uint8
	incarnation uint8 // of the request, whether it is there or not
	request     id
	bindings    [slots]id
	made        [slots]uint8 // bindings that ever had the name
	decisions   id
	policy      id
	around      surroundings
	seen        [slots]witness
}

// surroundings are what else a request is judged by. In the beginning neither is so.
type surroundings struct {
	dangerous  bool // the role
	unlabelled bool // the namespace
}

// replica is one operator: its caches, and where its two controllers are.
type replica struct {
	// unsynced: the cache of requests has not caught up since the start. What grants
	// does not run, what ends access does.
	unsynced  bool
	request   id
	bindings  [slots]id
	decisions id
	policy    id
	around    surroundings
	mind

	granting, ending trail
	// unjust: when granting last began to read past its caches, there was a reason against it.
	unjust bool
	// asked: the policy asked for approval then.
	asked bool
	// late: since it read the binding, the other replica created or recorded something.
	late bool
}

// mind is what a replica knows, since it was started, that no cache shows it.
type mind struct {
	// remembered are the grants in its memory.
	remembered [slots]id
	// knew says of which it made the binding, or had it in a cache.
	knew [slots]bool
	// written is the request as it wrote it; see writtenWins.
	written id
}

// world is one state. What is left bounds what may still happen.
type world struct {
	server
	left     budget
	replicas [replicas]replica
}

// budget is how often each kind of trouble may still come.
type budget struct{ crashes, faults, edits, ticks uint8 }

// scenario is where an exploration begins.
type scenario struct {
	name      string
	budget    budget
	depth     int  // longest path, in steps; 0 is no bound
	approval  bool // the policy asks for approval
	unsteady  bool // the role and the namespace may change: to read them is a step
	retention time.Duration
	edits     []edit
	bug       bug
	stale     kind  // is read from the cache by what grants, though it is asked past it; a mistake
	strict    bool  // nothing is excused; see excuse
	beside    order // of what is read at once
}

// order says when what is read beside the binding and the request is read. The operator has
// goroutines for it, here each order is explored of its own.
type order uint8

const (
	// beforeBoth: what is known then is the oldest.
	beforeBoth order = iota
	inBetween
	afterBoth
)

// bug is a mistake that the model makes in the place of the operator; 0 is none.
type bug uint8

const (
	// noLock: status is written whatever version it was made from.
	noLock bug = iota + 1
	// deleteUnrecorded: a binding that status does not know is deleted, not emptied.
	deleteUnrecorded
	// existsIsSuccess: a binding that exists already is taken for the one created.
	existsIsSuccess
	// forgets: what grants asks its memory for nothing.
	forgets
	// remembersNothing: what grants does not tell its memory what it made.
	remembersNothing
	// deaf: the cache of decisions never shows any.
	deaf
	// requestFirst: what grants reads the request before its binding.
	requestFirst
	// leavesOut: the same, and no binding is looked for if neither status nor the cache knows of one.
	leavesOut
	// writtenWins: a request is read as it was written, whatever the cache shows since.
	writtenWins
)

const (
	requestName = "debug"
	namespace   = "payments"
	policyName  = "oncall"
	requester   = "alice"
	approver    = "carol"
	label       = "stage"
	labelled    = "test"
)

func uidOf(incarnation uint8) types.UID {
	return types.UID([]string{"11111111-1111-1111", "22222222-2222-2222"}[incarnation])
}

var bindingNames = [slots]string{binding.Name(newRequest(0, 0)), binding.Name(newRequest(1, 0))}

func slotOf(bindingName string) int8 {
	for i, name := range bindingNames {
		if name == bindingName {
			return int8(i)
		}
	}
	panic("nobody has a binding of the name " + bindingName)
}

func newRequest(incarnation, now uint8) *v1alpha1.AccessRequest {
	req := builders.Request(requestName).In(namespace).By(requester).Lasting(lasts * tick).Build()
	req.UID, req.Generation, req.CreationTimestamp = uidOf(incarnation), 1, metav1.NewTime(at(now))
	req.ResourceVersion = version(incarnation, 1)
	req.Status.ObservedGeneration = -1
	return req
}

func newPolicy(approval bool) *v1alpha1.AccessPolicy {
	b := builders.Policy(policyName).Selecting(label, labelled)
	if approval {
		b = b.ApprovedBy(builders.User(approver), builders.User(requester))
	}
	p := b.Build()
	p.UID, p.Generation = "policy", 1
	return p
}

// first is the state in which a request has just been created and nobody knows.
func (m *machine) first() world {
	w := world{left: m.budget}
	w.request = m.put(newRequest(0, 0))
	w.policy = m.put(newPolicy(m.approval))
	w.decisions = m.put(&v1alpha1.AccessDecisionList{})
	for i := range w.replicas {
		w.replicas[i].policy, w.replicas[i].decisions = w.policy, w.decisions
	}
	return w
}

// alike orders the replicas: it makes no difference which one is which. It says
// whether it changed them over.
func (w *world) alike() bool {
	if !w.replicas[1].before(&w.replicas[0]) {
		return false
	}
	w.replicas[0], w.replicas[1] = w.replicas[1], w.replicas[0]
	return true
}

func (r *replica) before(o *replica) bool {
	a, b := r.key(), o.key()
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}

func (r *replica) key() [11]id {
	var flags id
	for i, set := range []bool{r.unsynced, r.unjust, r.asked, r.late, r.knew[0], r.knew[1], r.around.dangerous, r.around.unlabelled} {
		if set {
			flags |= 1 << i
		}
	}
	return [...]id{
		r.granting, r.ending, r.request, r.bindings[0], r.bindings[1], r.decisions, r.policy, flags, r.remembered[0], r.remembered[1],
		r.written,
	}
}
