// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"slices"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

// edit is what a person does; false if it cannot be done now.
type edit struct {
	text string
	do   func(*machine, *server) bool
}

// decide gives a verdict on the request that is there. One person gives each verdict
// once.
func decide(verdict v1alpha1.Verdict, who string) edit {
	e := edit{text: who + " decides " + string(verdict)}
	e.do = func(m *machine, s *server) bool {
		req := m.request(s)
		if req == nil {
			return false
		}
		d := *builders.Decision(string(req.UID[:1])+"-"+who+"-"+string(verdict), req, verdict)
		d.CreationTimestamp = metav1.NewTime(at(s.now))
		d.Spec.Reviewer = &v1alpha1.Identity{Username: who}
		all := as[*v1alpha1.AccessDecisionList](m.objects, s.decisions)
		if slices.ContainsFunc(all.Items, func(o v1alpha1.AccessDecision) bool { return o.Name == d.Name }) {
			return false
		}
		s.decisions = m.changes.get(change{from: s.decisions, edit: e.text + d.Name, now: s.now}, func() id {
			more := all.DeepCopy()
			more.Items = append(more.Items, d)
			return m.put(more)
		})
		w := &s.seen[s.incarnation]
		if verdict == v1alpha1.VerdictApprove {
			w.approved = w.approved || who == approver
			w.withdrawn = w.withdrawn && who != approver
		} else {
			w.no = true // by the approver or the requester, both may
		}
		return true
	}
	return e
}

// withdraw takes back all approvals.
var withdraw = edit{text: "the approvals are deleted", do: func(m *machine, s *server) bool {
	before := s.decisions
	s.decisions = m.changes.get(change{from: before, edit: "withdraw"}, func() id {
		rest := as[*v1alpha1.AccessDecisionList](m.objects, before).DeepCopy()
		rest.Items = slices.DeleteFunc(rest.Items, func(d v1alpha1.AccessDecision) bool { return d.Spec.Verdict == v1alpha1.VerdictApprove })
		return m.put(rest)
	})
	for i := range s.seen {
		s.seen[i].withdrawn = s.seen[i].approved
	}
	return s.decisions != before
}}

// editPolicy changes the policy, once. Each such edit has a bit of the generation: the
// operator remembers policies by it.
func editPolicy(text string, bit int64, do func(*v1alpha1.AccessPolicySpec)) edit {
	return edit{text: "the policy " + text, do: func(m *machine, s *server) bool {
		if s.policy == 0 {
			return false
		}
		old := as[*v1alpha1.AccessPolicy](m.objects, s.policy)
		if old.Generation&bit != 0 {
			return false
		}
		s.policy = m.changes.get(change{from: s.policy, edit: text}, func() id {
			p := old.DeepCopy()
			p.Generation |= bit
			do(&p.Spec)
			return m.put(p)
		})
		return true
	}}
}

var (
	narrowPolicy = editPolicy("is narrowed to another role", 2, func(p *v1alpha1.AccessPolicySpec) { p.Roles[0].Name = "edit" })
	askApproval  = editPolicy("comes to ask for approval", 4, func(p *v1alpha1.AccessPolicySpec) {
		p.Approvals = newPolicy(true).Spec.Approvals
	})
)

var deletePolicy = edit{text: "the policy is deleted", do: func(_ *machine, s *server) bool {
	there := s.policy != 0
	s.policy = 0
	return there
}}

var growRole = edit{text: "the role becomes dangerous", do: func(_ *machine, s *server) bool {
	was := s.around
	s.around.dangerous = true
	return s.around != was
}}

var relabel = edit{text: "the namespace loses the label by which the policy selects it", do: func(_ *machine, s *server) bool {
	was := s.around
	s.around.unlabelled = true
	return s.around != was
}}

var deleteRequest = edit{text: "the request is deleted", do: func(_ *machine, s *server) bool {
	there := s.request != 0
	s.request = 0
	return there
}}

var deleteRequestInForeground = edit{text: "the request is deleted in the foreground", do: func(m *machine, s *server) bool {
	req := m.request(s)
	if req == nil || req.DeletionTimestamp != nil {
		return false
	}
	s.request = m.changes.get(change{from: s.request, edit: "foreground", now: s.now}, func() id {
		deleting, now := req.DeepCopy(), metav1.NewTime(at(s.now))
		deleting.ResourceVersion, deleting.DeletionTimestamp = next(req.ResourceVersion), &now
		deleting.Finalizers = []string{metav1.FinalizerDeleteDependents}
		return m.put(deleting)
	})
	return true
}}

var createAgain = edit{text: "the request is created again", do: func(m *machine, s *server) bool {
	if s.request != 0 || s.incarnation > 0 {
		return false
	}
	s.incarnation++
	s.request = m.changes.get(change{edit: "again", now: s.now}, func() id { return m.put(newRequest(s.incarnation, s.now)) })
	return true
}}

var occupyName = edit{text: "a stranger creates a RoleBinding with the name of the request's", do: func(m *machine, s *server) bool {
	slot := s.incarnation
	if s.bindings[slot] != 0 {
		return false
	}
	s.made[slot]++
	s.seen[slot].stranger, s.seen[slot].due = true, never
	s.bindings[slot] = m.changes.get(change{edit: "occupy", made: s.made[slot], call: call{slot: int8(slot)}}, func() id {
		return m.put(&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{
				Name: bindingNames[slot], Namespace: namespace, UID: "stranger", ResourceVersion: version(s.made[slot], 1),
			},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "mallory"}},
		})
	})
	return true
}}

// deleteBinding is done by somebody who may, and not by the operator. When status knows
// of no grant, this takes the only trace of it, and the request may be granted once
// more: a limit that the security model names.
var deleteBinding = edit{text: "somebody deletes the RoleBinding", do: func(m *machine, s *server) bool {
	slot := int8(s.incarnation)
	if s.bindings[slot] == 0 {
		return false
	}
	if !m.recorded(s, slot) {
		s.seen[slot].granted = false
	}
	if m.removeBinding(s, call{verb: remove, kind: bindings, slot: slot}); s.bindings[slot] == 0 {
		s.seen[slot].stranger, s.seen[slot].edited, s.seen[slot].stripped = false, false, false
	}
	return true
}}

// tamper changes the binding of the request.
func tamper(text string, do func(*rbacv1.RoleBinding)) edit {
	e := edit{text: "somebody " + text}
	e.do = func(m *machine, s *server) bool {
		slot := int8(s.incarnation)
		old, w := m.binding(s, slot), &s.seen[slot]
		if old == nil || w.stranger || w.stripped {
			return false
		}
		w.edited = w.edited || !m.recorded(s, slot)
		s.bindings[slot] = m.changes.get(change{from: s.bindings[slot], edit: text}, func() id {
			b := old.DeepCopy()
			b.ResourceVersion = next(old.ResourceVersion)
			do(b)
			return m.put(b)
		})
		m.witnessEdit(s, slot)
		return true
	}
	return e
}

// witnessEdit notes when a binding has to end that was edited: when it says, if that is
// within the ceiling or by a tick beyond it, and at the ceiling otherwise.
func (m *machine) witnessEdit(s *server, slot int8) {
	b, w := m.binding(s, slot), &s.seen[slot]
	if len(b.Labels) == 0 {
		w.stripped, w.due = true, never
		w.edited = w.edited || !m.active(s, slot) // then nothing looks for it by its name
		return
	}
	latest := b.CreationTimestamp.Add(ceiling * tick)
	w.due = ticksTo(latest)
	if says := expiryOf(b); !says.After(latest.Add(tick)) {
		w.due = ticksTo(says)
	}
	if w.edited {
		w.said |= 1 << w.due
	}
}

var (
	addSubject = tamper("adds a subject to the RoleBinding", func(b *rbacv1.RoleBinding) {
		b.Subjects = append(b.Subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "mallory"})
	})
	pin = tamper("adds a finalizer to the RoleBinding", func(b *rbacv1.RoleBinding) {
		b.Finalizers = []string{"example.com/pin"}
	})
	putOff = tamper("puts the expiry off by a tick", func(b *rbacv1.RoleBinding) {
		b.Annotations[v1alpha1.ExpiresAtAnnotation] = expiryOf(b).Add(tick).Format(time.RFC3339)
	})
	putOffFar = tamper("puts the expiry off by a day", func(b *rbacv1.RoleBinding) {
		b.Annotations[v1alpha1.ExpiresAtAnnotation] = expiryOf(b).Add(24 * time.Hour).Format(time.RFC3339)
	})
	strip = tamper("takes labels, annotations and owner off the RoleBinding", func(b *rbacv1.RoleBinding) {
		b.Labels, b.Annotations, b.OwnerReferences = nil, nil, nil
	})
)

func expiryOf(b *rbacv1.RoleBinding) time.Time {
	t, err := time.Parse(time.RFC3339, b.Annotations[v1alpha1.ExpiresAtAnnotation])
	if err != nil {
		panic(err)
	}
	return t
}

// collect is the garbage collector: it deletes the binding of a slot whose owner is
// gone or goes, and finishes the deletion of the request. False if there is nothing.
func (m *machine) collect(s *server, slot int8) bool {
	req := m.request(s)
	b := m.binding(s, slot)
	if b == nil || len(b.OwnerReferences) == 0 || b.DeletionTimestamp != nil {
		return false
	}
	if req != nil && req.UID == b.OwnerReferences[0].UID && req.DeletionTimestamp == nil {
		return false
	}
	m.removeBinding(s, call{verb: remove, kind: bindings, slot: slot})
	return true
}

// finishDeletion of a request that is deleted in the foreground.
func (m *machine) finishDeletion(s *server) bool {
	req := m.request(s)
	if req == nil || req.DeletionTimestamp == nil {
		return false
	}
	s.request = 0
	return true
}
