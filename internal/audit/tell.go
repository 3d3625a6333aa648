// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// Of is all that happened to a request, in order, as far as it and its decisions say.
func Of(source string, req v1alpha1.Request, decisions []v1alpha1.AccessDecision) []Record {
	about := of{source: source, req: req, request: requestOf(req), grant: grantOf(req)}
	out := []Record{about.record(Asked, "asked", req.GetCreationTimestamp().Time)}
	for i := range decisions {
		if decisions[i].Spec.RequestRef.UID == req.GetUID() {
			out = append(out, about.decision(&decisions[i]))
		}
	}
	status := req.RequestStatus()
	ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
	g := status.Grant
	switch {
	case g != nil:
		out = append(out, about.granted(g))
		if changed := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionRoleChanged); changed != nil {
			out = append(out, about.roleChanged(changed))
		}
		if g.EndedAt != nil {
			out = append(out, about.record(Ended, "ended", g.EndedAt.Time))
		}
	case status.State.Final() && ready != nil:
		out = append(out, about.record(Refused, "refused", ready.LastTransitionTime.Time))
	}
	slices.SortStableFunc(out, func(a, b Record) int { return compare(&a, &b) })
	return out
}

func compare(a, b *Record) int {
	return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(rank(a.Type), rank(b.Type)))
}

// inOrder says whether b happened after a.
func inOrder(a, b *Record) bool { return compare(a, b) < 0 }

// rank orders what happened in the same second, which is as exact as objects are.
func rank(t Type) int {
	return slices.Index([]Type{Asked, Approved, Denied, Granted, RoleChanged, Revoked, Refused, Ended, Forgotten}, t)
}

// Gone is what is told of a request that was seen to be deleted: access by it is over too.
func Gone(source string, req v1alpha1.Request, at time.Time) []Record {
	about := of{source: source, req: req, request: requestOf(req), grant: grantOf(req)}
	var out []Record
	if g := about.grant; g != nil && g.EndedAt == nil {
		g.EndedAt, g.EndReason = &at, v1alpha1.ReasonRequestDeleted
		out = append(out, about.record(Ended, "ended", at))
	}
	return append(out, about.record(Forgotten, "forgotten", at))
}

// of makes the records of one request.
type of struct {
	source  string
	req     v1alpha1.Request
	request *Request
	grant   *Grant
}

func (o of) record(t Type, what string, at time.Time) Record {
	return Record{
		SpecVersion: "1.0", ID: id(o.req.GetUID(), what), Source: o.source, Type: t,
		Subject: o.request.Namespace + "/" + o.request.Name, Time: at.UTC(),
		DataContentType: "application/json", Data: Data{Request: o.request, Grant: o.grant},
	}
}

// id of what happened to an object.
func id(uid types.UID, what string) string { return string(uid) + "/" + what }

func (o of) decision(d *v1alpha1.AccessDecision) Record {
	t, what := Approved, "approved"
	switch d.Spec.Verdict {
	case v1alpha1.VerdictDeny:
		t, what = Denied, "denied"
	case v1alpha1.VerdictRevoke:
		t, what = Revoked, "revoked"
	case v1alpha1.VerdictApprove:
	}
	r := o.record(t, what, d.CreationTimestamp.Time)
	r.ID = id(d.UID, what)
	r.Data.Decision = &Decision{Name: d.Name, UID: d.UID, Verdict: d.Spec.Verdict, Reviewer: d.Spec.Reviewer, Comment: d.Spec.Comment}
	return r
}

// granted has the rules, which are long, and no other record has.
func (o of) granted(g *v1alpha1.Grant) Record {
	r := o.record(Granted, "granted", g.GrantedAt.Time)
	if g.Role != nil {
		with := *o.grant
		with.RoleRules = &Rules{packed: g.Role}
		r.Data.Grant = &with
	}
	return r
}

// roleChanged has an ID for each change of the role: it may be back, and change anew into the
// same.
func (o of) roleChanged(c *metav1.Condition) Record {
	r := o.record(RoleChanged, "", c.LastTransitionTime.Time)
	change := hashOf([]byte(c.LastTransitionTime.UTC().Format(time.RFC3339) + c.Reason + c.Message))
	r.ID = id(o.req.GetUID(), fmt.Sprintf("rolechanged/%s", change[:16]))
	g := *o.grant
	g.RoleChange = c.Reason + ": " + c.Message
	r.Data.Grant = &g
	return r
}

func requestOf(req v1alpha1.Request) *Request {
	spec, status := req.RequestSpec(), req.RequestStatus()
	out := &Request{
		Kind: req.RequestKind(), Namespace: req.GetNamespace(), Name: req.GetName(), UID: req.GetUID(), AskedAt: req.GetCreationTimestamp().UTC(),
		Requester: spec.Requester, Subject: spec.Subject, RoleRef: spec.RoleRef, Reason: spec.Reason,
		NotBefore: utc(spec.NotBefore), NotAfter: utc(spec.NotAfter), Policy: status.Policy, Approvals: status.Approvals,
	}
	if spec.Duration != nil {
		out.Duration = int64(spec.Duration.Seconds())
	}
	if ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady); ready != nil {
		out.Outcome, out.Message = ready.Reason, ready.Message
	}
	return out
}

// grantOf is nil if nothing was given.
func grantOf(req v1alpha1.Request) *Grant {
	g := req.RequestStatus().Grant
	if g == nil {
		return nil
	}
	out := &Grant{
		Binding: g.Binding, GrantedAt: g.GrantedAt.UTC(), ExpiresAt: g.ExpiresAt.UTC(), EndedAt: utc(g.EndedAt), EndReason: g.EndReason, EndedBy: g.EndedBy,
	}
	if g.Role != nil {
		out.RoleUID, out.RoleDigest = g.Role.UID, g.Role.Digest
	}
	return out
}

func utc(t *metav1.Time) *time.Time {
	if t == nil {
		return nil
	}
	out := t.UTC()
	return &out
}
