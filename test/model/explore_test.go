// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
)

// workers explore at once.
const workers = 2

// action is a step from one state to another.
type action struct {
	what event
	who  uint8 // which replica
	arg  uint8
}

type event uint8

const (
	begins    event = iota // arg is the job
	calls                  // arg is the controller, and what is lost of the call
	catchesUp              // arg is the cache
	dies
	ticks
	edits    // arg is which
	collects // arg is the slot; the last is the request itself
)

// What a call meets, times two, plus one for the controller that ends access.
const (
	fine = iota
	requestLost
	answerLost
)

// caches of a replica.
const (
	ofRequests = iota
	ofBindings
	ofDecisions
	ofPolicies
	ofSurroundings // the last one, see changing
	caches
)

// visit gives each state that follows another one, and what is wrong with the step.
type visit func(a action, w *world, problem string)

func (o *operator) successors(w *world, found visit) {
	for who := range uint8(replicas) {
		o.moves(w, who, found)
	}
	if w.left.ticks > 0 {
		next := *w
		next.left.ticks--
		next.now++
		found(action{what: ticks}, &next, "")
	}
	if w.left.edits > 0 {
		for i, e := range o.edits {
			next := *w
			next.left.edits--
			if e.do(o.machine, &next.server) {
				found(action{what: edits, arg: uint8(i)}, &next, "")
			}
		}
	}
	for slot := range int8(slots) {
		next := *w
		if o.collect(&next.server, slot) {
			found(action{what: collects, arg: uint8(slot)}, &next, "")
		}
	}
	next := *w
	if o.finishDeletion(&next.server) {
		found(action{what: collects, arg: slots}, &next, "")
	}
}

// moves are those of one replica.
func (o *operator) moves(w *world, who uint8, found visit) {
	r := &w.replicas[who]
	if r.granting == 0 && !r.unsynced {
		o.begins(w, action{what: begins, who: who, arg: uint8(toGrant)}, found)
	}
	for slot := range uint8(slots) {
		if r.ending == 0 && r.bindings[slot] != 0 {
			o.begins(w, action{what: begins, who: who, arg: uint8(toEnd) + slot}, found)
		}
	}
	for controller, t := range []trail{r.granting, r.ending} {
		if t != 0 {
			o.meets(w, t, action{what: calls, who: who, arg: uint8(controller)}, found)
		}
	}
	for what := range o.changing() {
		next := *w
		if o.catchUp(&next.server, &next.replicas[who], int(what)); next != *w {
			found(action{what: catchesUp, who: who, arg: what}, &next, "")
		}
	}
	if w.left.crashes > 0 {
		next := *w
		next.left.crashes--
		dead := &next.replicas[who]
		dead.unsynced, dead.granting, dead.ending, dead.unjust, dead.asked, dead.late = true, 0, 0, false, false, false
		dead.mind = mind{}
		found(action{what: dies, who: who}, &next, "")
	}
}

// changing are the caches of what may change.
func (m *machine) changing() uint8 {
	if m.unsteady {
		return caches
	}
	return ofSurroundings
}

// meets makes the next call of a controller, with all that the call may meet.
func (o *operator) meets(w *world, t trail, a action, found visit) {
	o.calls(w, a, found)
	if w.left.faults == 0 {
		return
	}
	a.arg += 2 * requestLost
	o.calls(w, a, found)
	if writes(o.callAt(t)) { // a lost answer to a question is a lost question
		a.arg += 2 * (answerLost - requestLost)
		o.calls(w, a, found)
	}
}

func writes(c call) bool { return c.verb != get && c.verb != list }

func (o *operator) begins(w *world, a action, found visit) {
	next := *w
	r := &next.replicas[a.who]
	t := o.begin(job(a.arg), w.now, r)
	if t == 0 {
		return
	}
	if job(a.arg) == toGrant {
		r.granting, r.late = t, false
		o.lookBegins(r, &w.server)
	} else {
		r.ending = t
	}
	found(a, &next, "")
}

// calls makes the next call of a controller.
func (o *operator) calls(w *world, a action, found visit) {
	next := *w
	r, other := &next.replicas[a.who], &next.replicas[1-a.who]
	at := &r.granting
	if a.arg%2 == 1 {
		at = &r.ending
	}
	c, answer, problem := o.callAt(*at), lost, ""
	if c.first {
		o.lookBegins(r, &w.server)
	}
	if a.arg%2 == 0 && c.verb == get && c.kind == bindings {
		r.late = false
	}
	if a.arg/2 != requestLost {
		answer, problem = o.commit(w, &next, c, r)
		other.late = other.late || other.granting != 0 && (w.made != next.made || w.request != next.request)
	}
	if a.arg/2 != fine {
		next.left.faults--
		answer = lost
	}
	o.makes(&next.server, r, c, answer)
	*at = o.goOn(*at, answer, r)
	if next.replicas[a.who].granting == 0 {
		r.unjust, r.asked, r.late = false, false, false
	}
	found(a, &next, problem)
}

// commit serves a call and says what is wrong with it.
func (o *operator) commit(w, next *world, c call, r *replica) (answer id, problem string) {
	answer = o.serve(&next.server, c)
	problem = o.judge(&w.server, &next.server, c, r)
	if problem == "" && w.bindings != next.bindings && o.early(w, c) {
		problem = "access was ended before its time"
	}
	return answer, problem
}

func (m *machine) catchUp(s *server, r *replica, what int) {
	switch what {
	case ofRequests:
		r.request, r.unsynced = s.request, false
	case ofBindings:
		for slot := range int8(slots) {
			made := r.bindings[slot] == 0
			r.bindings[slot] = s.bindings[slot]
			// The cache is of those with our label.
			if b := m.binding(s, slot); b != nil && b.Labels[v1alpha1.ManagedByLabel] != v1alpha1.ManagedBy {
				r.bindings[slot] = 0
			}
			if made && r.bindings[slot] != 0 {
				r.knew[slot] = true
				m.remember(r, r.bindings[slot])
			}
		}
	case ofDecisions:
		r.decisions = s.decisions
	case ofPolicies:
		r.policy = s.policy
	case ofSurroundings:
		r.around = s.around
	}
}

// makes notes what a replica knows by what it wrote.
func (m *machine) makes(s *server, r *replica, c call, answer id) {
	if m.bug == writtenWins && c.verb == patch && answer == accepted {
		r.written = s.request
	}
	if c.verb == create && c.kind == bindings && answer == accepted {
		r.knew[c.slot] = true
	}
}

// remember adds a binding to the memory of a replica, as what ships does.
func (m *machine) remember(r *replica, made id) {
	memory, b := binding.NewMemory(ceiling*tick), as[*rbacv1.RoleBinding](m.objects, made)
	memory.Add(b)
	if g := memory.Of(binding.OwnerOf(b).UID); g != nil {
		r.remembered[slotOf(g.Binding)] = m.put(g)
	}
}

// explorer goes breadth first, so that what it finds is found on a shortest path.
type explorer struct {
	*machine
	seed  maphash.Seed
	known [shards]struct {
		mu sync.Mutex
		m  map[uint64]struct{}
	}
	steps  []step // by the number of the state that they led to
	states int    // how many there are
	depth  int
	wrong  *finding
	took   time.Duration
	paths  int // steps taken, to known states too
}

// step is how a state was first reached.
type step struct {
	from int32
	action
}

// finding is a state that should not be.
type finding struct {
	problem string
	from    int32
	action  action
}

type reached struct {
	world
	number int32
}

func explore(s scenario) *explorer {
	e := &explorer{machine: newMachine(s), seed: maphash.MakeSeed()}
	for i := range e.known {
		e.known[i].m = map[uint64]struct{}{}
	}
	began := time.Now()
	first := e.first()
	e.isNew(&first)
	e.steps = append(e.steps, step{from: -1})
	operators := [workers]*operator{}
	for i := range operators {
		operators[i] = newOperator(e.machine)
	}
	for frontier := []reached{{world: first}}; len(frontier) > 0 && e.wrong == nil && (s.depth == 0 || e.depth < s.depth); e.depth++ {
		frontier = e.level(operators[:], frontier)
	}
	e.took, e.states = time.Since(began), len(e.steps)
	return e
}

// level goes one step on from every state of the frontier.
func (e *explorer) level(operators []*operator, frontier []reached) []reached {
	shares := make([]share, len(operators))
	var wait sync.WaitGroup
	for i, o := range operators {
		wait.Go(func() {
			for n := i; n < len(frontier) && shares[i].wrong == nil; n += len(operators) {
				e.expand(o, &frontier[n], &shares[i])
			}
		})
	}
	wait.Wait()
	var next []reached
	for _, s := range shares {
		e.paths += s.paths
		if s.wrong != nil && e.wrong == nil {
			e.wrong = s.wrong
		}
		for i := range s.found {
			s.found[i].number = int32(len(e.steps))
			e.steps = append(e.steps, s.steps[i])
			next = append(next, s.found[i])
		}
	}
	return next
}

// share is what one worker found on one level.
type share struct {
	found []reached
	steps []step
	wrong *finding
	paths int
}

func (e *explorer) expand(o *operator, from *reached, s *share) {
	o.successors(&from.world, func(a action, w *world, problem string) {
		s.paths++
		w.alike()
		if problem == "" && !e.isNew(w) {
			return
		}
		if problem == "" {
			problem = o.judgeState(w)
		}
		if problem != "" {
			if s.wrong == nil {
				s.wrong = &finding{problem, from.number, a}
			}
			return
		}
		s.found = append(s.found, reached{world: *w})
		s.steps = append(s.steps, step{from.number, a})
	})
}

func (e *explorer) isNew(w *world) bool {
	h := maphash.Comparable(e.seed, *w)
	s := &e.known[h%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.m[h]
	s.m[h] = struct{}{}
	return !known
}

// trace tells how the finding comes about, one step a line.
func (e *explorer) trace() string {
	path := []action{e.wrong.action}
	for n := e.wrong.from; n > 0; n = e.steps[n].from {
		path = append(path, e.steps[n].action)
	}
	slices.Reverse(path)
	o, w, names := newOperator(e.machine), e.first(), []string{"A", "B"}
	var out strings.Builder
	for i, a := range path {
		fmt.Fprintf(&out, "%3d. %s\n", i+1, o.tell(&w, a, names))
		from := w
		o.successors(&from, func(other action, next *world, _ string) {
			if other == a {
				w = *next
			}
		})
		if w.alike() {
			slices.Reverse(names)
		}
	}
	fmt.Fprintf(&out, "     %s", e.wrong.problem)
	return out.String()
}
