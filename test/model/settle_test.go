// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// resting is what a state is judged by: what is stored, and what one replica knows.
type resting struct {
	server
	mind
}

// judgeState asks of a state: does one undisturbed turn end what is over, and does all
// come right once nothing disturbs it, whichever replica goes on? It says what is wrong.
func (o *operator) judgeState(w *world) string {
	for _, r := range w.replicas {
		if problem := o.verdict.get(resting{w.server, r.mind}, func() string { return o.judgeResting(w.server, r.mind) }); problem != "" {
			return problem
		}
	}
	return ""
}

func (o *operator) judgeResting(s server, m mind) string {
	if problem := o.judgeTurn(s, m); problem != "" {
		return problem
	}
	settled, problem := o.settle(s, m)
	if problem == "" {
		problem = o.judgeSettled(&settled)
	}
	if problem != "" {
		problem += ", once nothing disturbs it any more"
	}
	return problem
}

// judgeTurn is I2: whatever else is wrong, the next turn of any replica ends what is
// over, whether it knows of the request or not.
func (o *operator) judgeTurn(s server, m mind) string {
	for slot := range int8(slots) {
		if s.bindings[slot] == 0 || s.now < s.seen[slot].due {
			continue
		}
		for _, unsynced := range []bool{false, true} {
			turned, r := s, o.knowing(&s, m)
			r.unsynced = unsynced
			if problem := o.finish(&turned, &r, toEnd+job(slot)); problem != "" {
				return problem
			}
			if b := o.binding(&turned, slot); b != nil && len(b.Subjects) > 0 {
				return "I2: access goes on past its end after a whole turn of a replica"
			}
		}
	}
	return ""
}

// knowing is a replica whose caches have caught up.
func (m *machine) knowing(s *server, knows mind) replica {
	r := replica{mind: knows}
	for what := range caches {
		m.catchUp(s, &r, what)
	}
	return r
}

// finish runs a reconciler to its end.
func (o *operator) finish(s *server, r *replica, j job) string {
	o.lookBegins(r, s)
	for t := o.begin(j, s.now, r); t != 0; {
		before, c := *s, o.callAt(t)
		answer := o.serve(s, c)
		if problem := o.judge(&before, s, c, r); problem != "" {
			return problem
		}
		o.makes(s, r, c, answer)
		t = o.goOn(t, answer, r)
	}
	return ""
}

// settle lets one replica and the garbage collector do all that there is to do.
func (o *operator) settle(s server, m mind) (server, string) {
	for range 12 {
		before := s
		for _, j := range []job{toGrant, toEnd, toEnd + 1} {
			r := o.knowing(&s, m)
			if problem := o.finish(&s, &r, j); problem != "" {
				return s, problem
			}
			m = r.mind
		}
		for slot := range int8(slots) {
			o.collect(&s, slot)
		}
		o.finishDeletion(&s)
		if s == before {
			return s, ""
		}
	}
	return s, "I5: it never comes to rest"
}

// judgeSettled is I1 and I5: what is there once nothing is left to do.
func (o *operator) judgeSettled(s *server) string {
	for slot := range int8(slots) {
		if problem := o.judgeSettledBinding(s, slot); problem != "" {
			return problem
		}
	}
	req := o.request(s)
	if req == nil {
		return ""
	}
	w, b := s.seen[s.incarnation], o.binding(s, int8(s.incarnation))
	rests := req.Status.State.Final()
	switch req.Status.State { //nolint:exhaustive // the others do not rest
	case v1alpha1.StateActive:
		rests = b != nil && len(b.Subjects) > 0
	case v1alpha1.StateFailed:
		rests = w.stranger || w.edited
	case v1alpha1.StatePending:
		rests = o.asks(s.policy) && !o.unjust(s)
	}
	if !rests {
		return fmt.Sprintf("I5: the request stays %q", req.Status.State)
	}
	return ""
}

// excuses says whether the binding is nothing that the operator could know as its own.
func (w witness) excuses(owned bool) bool {
	return w.stranger || w.stripped && (w.edited || !owned)
}

// judgeSettledBinding excuses what is a stranger's, and what was changed before it was
// recorded: it has the mark of a stranger, and only its end is held against it.
func (o *operator) judgeSettledBinding(s *server, slot int8) string {
	b, req, w := o.binding(s, slot), o.request(s), s.seen[slot]
	owned := req != nil && req.UID == uidOf(uint8(slot))
	if b == nil || w.excuses(owned) {
		return ""
	}
	if len(b.Subjects) == 0 {
		return first([]rule{{len(b.Finalizers) == 0 && !w.stripped, "I5: a RoleBinding without subjects is left behind"}})
	}
	if s.now >= w.due {
		return "I2: access goes on past its end"
	}
	if w.edited {
		return ""
	}
	if !owned || req.Status.State != v1alpha1.StateActive {
		return "I1: there is access that belongs to no active request"
	}
	return first([]rule{
		{w.no || !o.allows(s.policy), "I1: access goes on that the policy or a person ended"},
		{!req.Status.Grant.ExpiresAt.Time.Equal(expiryOf(b)), "I2: the binding ends at another time than is recorded"},
		{b.Subjects[0].Name != requester || len(b.Subjects) > 1, "I1: somebody else has access"},
	})
}
