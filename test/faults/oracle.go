// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"fmt"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
)

// State is what there is at a moment.
type State struct {
	Now      time.Time
	Requests []v1alpha1.AccessRequest
	// Bindings with the prefix of Lapse.
	Bindings []rbacv1.RoleBinding
	// Decisions on requests.
	Decisions []v1alpha1.AccessDecision
}

// Bounds are what a scenario promises.
type Bounds struct {
	// Operator is the only one who may make managed bindings.
	Operator string
	// Late is how long after its deadline access may go on.
	Late time.Duration
	// Down are the times in which nothing could end access. A deadline within one
	// counts as its end.
	Down []Interval
}

// Interval of time.
type Interval struct{ From, To time.Time }

// Violation of an invariant.
type Violation struct {
	// Invariant is I1 to I6.
	Invariant string
	// Of is the UID of the request that it concerns, as far as it is known.
	Of   types.UID
	Text string
}

func (v Violation) String() string { return fmt.Sprintf("%s %s: %s", v.Invariant, v.Of, v.Text) }

// Evaluate holds what happened, and what there is, against the invariants that must
// hold at every moment:
//
//	I1 justified: each binding was made by the operator, for a request that was there,
//	   with its subject, role, namespace and name, and no earlier than it asked for
//	I2 bounded: no end is later than it was asked for or than the ceiling, no binding
//	   outlived its end by more than the bound, none that expired ended before it, and
//	   no end grew
//	I3 terminal is terminal: one binding in the life of a request, none after its end,
//	   none still held when status said that it was over, and no state after a final one
//	I4 two persons: enough distinct approvers had approved before the binding was made,
//	   none of them the requester or the grantee
func Evaluate(h *History, s State, bounds Bounds) []Violation {
	var out []Violation
	made := map[types.UID]int{}
	for _, b := range h.Bindings {
		made[b.RequestUID()]++
		r := h.Requests[b.RequestUID()]
		if r == nil || r.Created == nil {
			out = append(out, violation("I1", b, "no request has this UID"))
			continue
		}
		for _, check := range []func(*History, *BindingLife, *RequestLife, State, Bounds) []Violation{justified, bounded, terminal, twoPersons} {
			out = append(out, check(h, b, r, s, bounds)...)
		}
	}
	for uid, n := range made {
		if n > 1 {
			out = append(out, Violation{"I3", uid, fmt.Sprintf("it was granted %d times", n)})
		}
	}
	for uid, r := range h.Requests {
		out = append(out, steadfast(uid, r)...)
	}
	return out
}

func violation(invariant string, b *BindingLife, format string, args ...any) Violation {
	return Violation{
		invariant, b.RequestUID(), fmt.Sprintf("RoleBinding %s/%s: ", b.Created.Namespace, b.Created.Name) + fmt.Sprintf(format, args...),
	}
}

// justified is I1 as of the moment at which a binding was made.
func justified(_ *History, b *BindingLife, r *RequestLife, _ State, bounds Bounds) []Violation {
	var out []Violation
	req := r.Created
	for field, differs := range map[string]bool{
		"creator " + b.By:    b.By != bounds.Operator,
		"namespace":          b.Created.Namespace != req.Namespace,
		"name":               b.Created.Name != binding.Name(req),
		"roleRef":            b.Created.RoleRef.Kind != req.Spec.RoleRef.Kind || b.Created.RoleRef.Name != req.Spec.RoleRef.Name,
		"subjects":           len(b.Created.Subjects) != 1 || !sameSubject(b.Created.Subjects[0], req.Spec.Subject),
		"creation, too late": !r.Deleted.IsZero() && b.Asked.After(r.Deleted.Add(binding.CreateWindow)),
		"creation, too soon": req.Spec.NotBefore != nil && b.Created.CreationTimestamp.Before(req.Spec.NotBefore),
	} {
		if differs {
			out = append(out, violation("I1", b, "its %s is not that of its request", field))
		}
	}
	for _, u := range b.Updates {
		if len(u.Subjects) > 0 && (len(u.Subjects) != 1 || u.Subjects[0] != b.Created.Subjects[0]) {
			out = append(out, violation("I1", b, "its subjects were changed"))
		}
	}
	return out
}

// sameSubject compares with what admission stamped, which is always there.
func sameSubject(got rbacv1.Subject, want *v1alpha1.Subject) bool {
	return want != nil && got.Kind == want.Kind && got.Name == want.Name && got.Namespace == want.Namespace
}

// rounding is how far a whole second may be from the moment that it stands for.
const rounding = 2 * time.Second

// bounded is I2.
func bounded(h *History, b *BindingLife, r *RequestLife, s State, bounds Bounds) []Violation {
	var out []Violation
	due, ok := b.Expires()
	if !ok {
		return []Violation{violation("I2", b, "it was made without a readable end")}
	}
	out = append(out, asAsked(h, b, r.Created.Spec, due)...)
	if late, ended := b.late(s.Now, bounds); late > bounds.Late {
		out = append(out, violation("I2", b, "due at %s, it was held %s longer (ended: %v); the bound is %s", due, late, ended, bounds.Late))
	}
	out = append(out, grown(b, r, due)...)
	if f := r.Final(); f != nil && f.Status.State == v1alpha1.StateExpired && !b.Ended.IsZero() && b.Ended.Before(due) && !h.stopped(b) {
		out = append(out, violation("I2", b, "it expired at %s, before its end %s", b.Ended, due))
	}
	return out
}

// ceiling is the operator's own over every policy.
const ceiling = 24 * time.Hour

// asAsked holds an end against what the request asked for, and its policy allows.
func asAsked(h *History, b *BindingLife, spec v1alpha1.AccessRequestSpec, due time.Time) (out []Violation) {
	longest := ceiling
	if p := h.policyOf(b); p != nil {
		longest = min(longest, p.Spec.MaxDuration.Duration)
	}
	if spec.Duration != nil {
		longest = min(longest, spec.Duration.Duration)
	}
	if due.After(b.CreatedAt.Add(longest + rounding)) {
		out = append(out, violation("I2", b, "it ends at %s, later than %s after it was made at %s", due, longest, b.CreatedAt))
	}
	if limit := spec.NotAfter; limit != nil && due.After(limit.Time) {
		out = append(out, violation("I2", b, "it ends at %s, later than its notAfter %s", due, limit))
	}
	return out
}

// grown are the times at which the end of a binding became a later one.
func grown(b *BindingLife, r *RequestLife, due time.Time) (out []Violation) {
	last := due
	for _, w := range r.Writes {
		if g := w.Status.Grant; g != nil && g.Binding == b.Created.Name {
			if g.ExpiresAt.After(last) {
				out = append(out, violation("I2", b, "its end grew from %s to %s in status", last, g.ExpiresAt))
			}
			last = g.ExpiresAt.Time
		}
	}
	for _, u := range b.Updates {
		if end, err := time.Parse(time.RFC3339, u.Annotations[v1alpha1.ExpiresAtAnnotation]); err != nil || end.After(due) {
			out = append(out, violation("I2", b, "its end was changed from %s to %q", due, u.Annotations[v1alpha1.ExpiresAtAnnotation]))
		}
	}
	return out
}

// stopped says whether somebody had said no before a binding ended.
func (h *History) stopped(b *BindingLife) bool {
	for _, d := range h.Decisions {
		if d.Spec.RequestRef.UID == b.RequestUID() && d.Spec.Verdict != v1alpha1.VerdictApprove && !d.CreationTimestamp.After(b.Ended) {
			return true
		}
	}
	return false
}

// late is how long after its deadline a binding was held, or is; negative if it was not.
func (b *BindingLife) late(now time.Time, bounds Bounds) (late time.Duration, ended bool) {
	due, _ := b.Expires()
	for _, d := range bounds.Down {
		if !due.Before(d.From) && due.Before(d.To) {
			due = d.To
		}
	}
	if b.Ended.IsZero() {
		return now.Sub(due), false
	}
	return b.Ended.Sub(due), true
}

// writing is how much later than an answer goes out the audit log may have it.
const writing = time.Second

// terminal is I3 for one binding.
func terminal(_ *History, b *BindingLife, r *RequestLife, s State, _ Bounds) []Violation {
	f := r.Final()
	if f == nil {
		return nil
	}
	if version(b.Created) > version(f) {
		return []Violation{violation("I3", b, "it was made after the request was %s", f.Status.State)}
	}
	// The end has to be asked for before status says so.
	if b.Ended.IsZero() && s.Now.After(r.FinalAsked.Add(writing)) || b.EndAsked.After(r.FinalAsked) {
		return []Violation{violation("I3", b, "the request was %s at %s, and it was held until %s", f.Status.State, r.FinalAsked, b.EndAsked)}
	}
	return nil
}

// steadfast is I3 for the states of a request.
func steadfast(uid types.UID, r *RequestLife) []Violation {
	var out []Violation
	f := r.Final()
	for _, w := range r.Writes {
		if f != nil && version(w) > version(f) && w.Status.State != f.Status.State {
			out = append(out, Violation{"I3", uid, fmt.Sprintf("it became %s after it was %s", w.Status.State, f.Status.State)})
		}
	}
	return out
}

// twoPersons is I4.
func twoPersons(h *History, b *BindingLife, r *RequestLife, _ State, _ Bounds) []Violation {
	wanted := 0
	if p := h.policyOf(b); p != nil {
		for _, rule := range p.Spec.Approvals {
			wanted += int(max(rule.Count, 1))
		}
	}
	approvers := map[string]bool{}
	for _, d := range h.Decisions {
		if d.Spec.RequestRef.UID == b.RequestUID() && d.Spec.Verdict == v1alpha1.VerdictApprove && version(d) < version(b.Created) &&
			!involved(d, r.Created) {
			approvers[d.Spec.Reviewer.Username] = true
		}
	}
	if len(approvers) < wanted {
		return []Violation{violation("I4", b, "%d approved who neither asked nor get it, and its policy wants %d", len(approvers), wanted)}
	}
	return nil
}

// policyOf a binding is its policy as it was when the binding was made; nil if that is not
// known.
func (h *History) policyOf(b *BindingLife) (last *v1alpha1.AccessPolicy) {
	for _, p := range h.Policies[b.Created.Annotations[v1alpha1.PolicyAnnotation]] {
		if version(p) < version(b.Created) {
			last = p
		}
	}
	return last
}

func involved(d *v1alpha1.AccessDecision, req *v1alpha1.AccessRequest) bool {
	who := d.Spec.Reviewer.Username
	return who == req.Spec.Requester.Username || req.Spec.Subject != nil && req.Spec.Subject.Kind == v1alpha1.UserKind &&
		req.Spec.Subject.Name == who
}
