// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"slices"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
)

// witness is what the oracle has seen of one incarnation of the request.
type witness struct {
	expiries  uint16 // of the bindings that the operator made, a bit for each tick
	said      uint16 // the same, of what bindings said that were edited; for the record only
	granted   bool   // it was granted, and nobody took the trace of it
	over      bool   // its end was recorded
	approved  bool   // by somebody who may
	withdrawn bool   // that approval was taken back, and not given again
	no        bool   // from somebody who may say no
	due       uint8  // the tick at which the binding has to end
	stranger  bool   // the binding is somebody else's
	edited    bool   // somebody changed the binding while status knew of no grant, or all was taken off while it was not active
	stripped  bool   // all was taken off the binding by which it is known
	late      bool   // the binding came late, and was excused
	untraced  bool   // the binding went before status knew of it: only memory has the grant
}

func (m *machine) allows(policy id) bool {
	return policy != 0 && as[*v1alpha1.AccessPolicy](m.objects, policy).Spec.Roles[0].Name == "view"
}

func (m *machine) asks(policy id) bool {
	return policy != 0 && len(as[*v1alpha1.AccessPolicy](m.objects, policy).Spec.Approvals) > 0
}

// recorded says whether status knows of the grant, or of its end.
func (m *machine) recorded(s *server, slot int8) bool {
	req := m.request(s)
	return req != nil && req.UID == uidOf(uint8(slot)) && (req.Status.Grant != nil || req.Status.State.Final())
}

// active says whether status says so.
func (m *machine) active(s *server, slot int8) bool {
	return m.recorded(s, slot) && m.request(s).Status.State == v1alpha1.StateActive
}

// unjust says whether there is a reason not to grant the request that is there.
func (m *machine) unjust(s *server) bool { return m.unjustBy(s, s.decisions) }

// lookBegins notes what a look that begins now has to see.
func (m *machine) lookBegins(r *replica, s *server) {
	r.unjust, r.asked = m.unjustTo(r, s), m.asks(s.policy)
}

// unjustTo is the same as far as a replica has to know it. Of a request that needs no
// approval it knows what people say by its cache, see ADR 13: what that does not show yet
// has to end the grant, to which judgeSettledBinding holds it.
func (m *machine) unjustTo(r *replica, s *server) bool {
	if m.asks(s.policy) {
		return m.unjust(s) || s.seen[s.incarnation].withdrawn
	}
	return m.unjustBy(s, r.decisions)
}

func (m *machine) unjustBy(s *server, decisions id) bool {
	req := m.request(s)
	return req == nil || req.DeletionTimestamp != nil || m.recorded(s, int8(s.incarnation)) ||
		!m.allows(s.policy) || s.around != surroundings{} ||
		slices.ContainsFunc(m.decisionList(decisions), func(d v1alpha1.AccessDecision) bool {
			return d.Spec.RequestRef.UID == req.UID && d.Spec.Verdict != v1alpha1.VerdictApprove
		})
}

func (m *machine) decisionList(decisions id) []v1alpha1.AccessDecision {
	if decisions == 0 {
		return nil
	}
	return as[*v1alpha1.AccessDecisionList](m.objects, decisions).Items
}

// judge holds a call that was served for a replica against the invariants. It says
// what is wrong.
func (m *machine) judge(before, after *server, c call, r *replica) string {
	switch {
	case c.verb == create && c.kind == bindings && before.made != after.made:
		return m.judgeGrant(before, after, c.slot, r)
	case c.verb == patch:
		return m.judgeRecord(before, after)
	case c.kind == bindings && (c.verb == remove || c.verb == update):
		after.seen[c.slot].untraced = after.seen[c.slot].untraced || after.bindings[c.slot] == 0 && !m.recorded(before, c.slot) &&
			r.knew[c.slot]
		return m.judgeEnd(before, after, c.slot)
	}
	return ""
}

// judgeGrant is about a binding that was just made.
func (m *machine) judgeGrant(before, after *server, slot int8, r *replica) string {
	b, w := m.binding(after, slot), &after.seen[slot]
	began := mustParse(b.Annotations[v1alpha1.CreateByAnnotation]).Add(-binding.CreateWindow)
	subject := rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: requester}
	over, twice := w.over, w.granted || w.over
	expires := ticksTo(expiryOf(b))
	w.expiries |= 1 << expires
	w.granted, w.due, w.stranger, w.edited, w.stripped = true, expires, false, false, false
	late := twice && m.excuse(r.late)
	twice = twice && !late && !m.excuse(w.untraced && !r.knew[slot])
	w.late, w.untraced = late, false
	return first([]rule{
		{len(b.Subjects) != 1 || b.Subjects[0] != subject || b.RoleRef.Name != "view", "I1: somebody is given what he did not ask for"},
		{string(uidOf(uint8(slot))) != b.Labels[v1alpha1.RequestUIDLabel], "I1: the binding is not the request's"},
		{expiryOf(b).Sub(began) != lasts*tick || began.After(at(before.now)), "I2: the binding lasts longer than was asked"},
		{r.asked && !w.approved, "I4: access was given that nobody approved who may"},
		{twice && over, "I3: access was given again after its end"},
		{twice, "I3: the request was granted twice"},
		{r.unjust && !w.late, "I1: access was given though the request, the policy or a person spoke against it"},
	})
}

// rule is what must not be, and how it is called.
type rule struct {
	broken bool
	text   string
}

// first is the first rule that is broken; empty if none is.
func first(rules []rule) string {
	for _, r := range rules {
		if r.broken {
			return r.text
		}
	}
	return ""
}

// excuse counts what is excused. There are two limits.
//
// Of two replicas that both lead, one that read everything and then stood still may send
// its POST when the other has granted, and even ended, the request. The API server cannot
// know. This late binding has the end that it was decided with, and goes with the next look
// at it: that is held against every state that follows.
//
// A binding that went before status knew of it is untraced: only those replicas can
// remember the grant that made it, or had it in a cache, and were not killed since; see
// ADR 1.
func (m *machine) excuse(limit bool) bool {
	if !limit || m.strict {
		return false
	}
	m.excused.Add(1)
	return true
}

// judgeRecord is about a status that was just written.
func (m *machine) judgeRecord(before, after *server) string {
	if before.request == after.request {
		return ""
	}
	old, now := m.request(before), m.request(after)
	w := &after.seen[after.incarnation]
	w.over = w.over || now.Status.State.Final()
	w.untraced = w.untraced && !m.recorded(after, int8(after.incarnation))
	was, is := old.Status.Grant, now.Status.Grant
	made := w.expiries
	if now.Status.State.Final() {
		made |= w.said
	}
	return first([]rule{
		{
			old.Status.State.Final() && old.Status.State != now.Status.State,
			fmt.Sprintf("I3: the final state %s was written over with %s", old.Status.State, now.Status.State),
		},
		{was != nil && (is == nil || !was.ExpiresAt.Equal(&is.ExpiresAt)), "I2: the recorded expiry changed"},
		{is != nil && made&(1<<expiryBit(is)) == 0, "I2: a grant is recorded that the operator never made"},
		{now.Status.State == v1alpha1.StateActive && is == nil, "I1: active without a grant"},
	})
}

func expiryBit(g *v1alpha1.Grant) uint8 {
	if g == nil {
		return 0
	}
	return ticksTo(g.ExpiresAt.Time)
}

// judgeEnd is about a binding that the operator changed or deleted.
func (m *machine) judgeEnd(before, after *server, slot int8) string {
	w := &after.seen[slot]
	b := m.binding(before, slot)
	if before.bindings[slot] == after.bindings[slot] {
		return ""
	}
	// Once there was a grant, what has its name is taken for what became of its binding.
	if w.stranger && w.expiries == 0 {
		return "the RoleBinding of a stranger was changed"
	}
	if later := m.binding(after, slot); later != nil && len(later.Subjects) > len(b.Subjects) {
		return "I1: the operator gave access by changing a RoleBinding"
	}
	return ""
}

// early says whether access was ended that nothing spoke against, in a world that
// nobody disturbed.
func (m *machine) early(w *world, c call) bool {
	ends := c.kind == bindings && (c.verb == remove || c.verb == update)
	return ends && w.left.edits == m.budget.edits && w.left.faults == m.budget.faults && !w.seen[c.slot].late &&
		w.now < w.seen[c.slot].due && !w.seen[c.slot].over
}

func mustParse(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}
