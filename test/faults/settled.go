// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"fmt"
	"slices"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// Unsettled is what keeps a state from being the right one. Once faults have stopped
// it has to become empty:
//
//	I1 each binding belongs to exactly one request, which is active; and each active
//	   request has its binding
//	I5 each request was looked at, and none is active past its end or a no
func Unsettled(s State) []Violation {
	var out []Violation
	requests, bound := map[types.UID]*v1alpha1.AccessRequest{}, map[types.UID]int{}
	for i := range s.Requests {
		requests[s.Requests[i].UID] = &s.Requests[i]
	}
	for i := range s.Bindings {
		b := &s.Bindings[i]
		uid := types.UID(b.Labels[v1alpha1.RequestUIDLabel])
		bound[uid]++
		if text := unjustified(b, requests[uid]); text != "" {
			out = append(out, Violation{"I1", uid, fmt.Sprintf("RoleBinding %s/%s: %s", b.Namespace, b.Name, text)})
		}
	}
	out = append(out, unheard(s.Decisions, requests)...)
	for uid, req := range requests {
		state := req.Status.State
		switch {
		case state == "":
			out = append(out, Violation{"I5", uid, fmt.Sprintf("request %s/%s was not looked at", req.Namespace, req.Name)})
		case state == v1alpha1.StateActive && bound[uid] != 1:
			out = append(out, Violation{"I1", uid, fmt.Sprintf("request %s/%s is active and has %d bindings", req.Namespace, req.Name, bound[uid])})
		case state == v1alpha1.StateActive && s.Now.After(req.Status.Grant.ExpiresAt.Add(grace)):
			out = append(out, Violation{"I5", uid, fmt.Sprintf("request %s/%s is active past its end", req.Namespace, req.Name)})
		}
	}
	return out
}

// grace is what recording an end may take.
const grace = time.Second

// unheard are the requests that go on though somebody said no; all may who do that here.
func unheard(decisions []v1alpha1.AccessDecision, requests map[types.UID]*v1alpha1.AccessRequest) (out []Violation) {
	for i := range decisions {
		d := decisions[i].Spec
		if req := requests[d.RequestRef.UID]; req != nil && d.Verdict != v1alpha1.VerdictApprove && !req.Status.State.Final() {
			out = append(out, Violation{
				"I5", req.UID, fmt.Sprintf("request %s/%s is %q though %s said no", req.Namespace, req.Name, req.Status.State, d.Reviewer.Username),
			})
		}
	}
	return out
}

// unjustified says why a binding should not be there; empty if it should.
func unjustified(b *rbacv1.RoleBinding, req *v1alpha1.AccessRequest) string {
	switch {
	case req == nil || req.Namespace != b.Namespace:
		return "its request does not exist"
	case req.Status.State != v1alpha1.StateActive:
		return fmt.Sprintf("its request is %q", req.Status.State)
	case req.Status.Grant == nil || req.Status.Grant.Binding != b.Name:
		return "its request knows of another binding"
	case b.RoleRef.Kind != req.Spec.RoleRef.Kind || b.RoleRef.Name != req.Spec.RoleRef.Name:
		return "its role is not the request's"
	case len(b.Subjects) != 1 || !sameSubject(b.Subjects[0], req.Spec.Subject):
		return "its subjects are not the request's"
	}
	return ""
}

// Unrecorded is I6, as far as there are records: a grant and its end are in the status of
// a request, for as long as that exists. It holds once a state has settled.
func Unrecorded(h *History) []Violation {
	var out []Violation
	for _, b := range h.Bindings {
		r := h.Requests[b.RequestUID()]
		if r == nil || !r.Deleted.IsZero() {
			continue
		}
		if !slices.ContainsFunc(r.Writes, func(w *v1alpha1.AccessRequest) bool { return recordsGrant(w, b) }) {
			out = append(out, violation("I6", b, "no status records the grant"))
		}
		f := r.Final()
		switch {
		case b.Ended.IsZero():
		case f == nil || f.Status.Grant == nil || f.Status.Grant.EndedAt == nil || f.Status.Grant.EndReason == "":
			out = append(out, violation("I6", b, "no status records the end at %s", b.Ended))
		case f.Status.Grant.EndedAt.Add(time.Second).Before(b.EndAsked): // it is cut to the second
			out = append(out,
				violation("I6", b, "status says that it ended at %s, and that was asked for at %s", f.Status.Grant.EndedAt, b.EndAsked))
		}
	}
	return out
}

func recordsGrant(w *v1alpha1.AccessRequest, b *BindingLife) bool {
	due, _ := b.Expires()
	g := w.Status.Grant
	return g != nil && g.Binding == b.Created.Name && g.ExpiresAt.Time.Equal(due) && !g.GrantedAt.IsZero()
}

// Misnamed counts the ends that are recorded as Expired, though a decision had ended
// the access before its deadline: the record is there, and its reason is not the first.
func Misnamed(h *History) int {
	n := 0
	for _, b := range h.Bindings {
		due, _ := b.Expires()
		r := h.Requests[b.RequestUID()]
		if r == nil || b.Ended.IsZero() || !b.Ended.Before(due) || !h.stopped(b) {
			continue
		}
		if f := r.Final(); f != nil && f.Status.State == v1alpha1.StateExpired {
			n++
		}
	}
	return n
}

// Lateness of all bindings that were held until their deadline or longer, sorted.
func Lateness(h *History, s State, bounds Bounds) []time.Duration {
	var out []time.Duration
	for _, b := range h.Bindings {
		if late, _ := b.late(s.Now, bounds); late >= 0 {
			out = append(out, late)
		}
	}
	slices.Sort(out)
	return out
}
