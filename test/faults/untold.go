// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/audit"
)

// Told is what a record says that happened to a request.
type Told struct {
	ID     string     `json:"id"`
	Type   audit.Type `json:"type"`
	Time   time.Time  `json:"time"`
	Writer string     `json:"lapsewriter"`
	Data   struct {
		Request *struct {
			UID types.UID `json:"uid"`
		} `json:"request"`
	} `json:"data"`
}

// ParseTold reads a line of a file of records. It is nil if the line is about no request, or
// was broken off.
func ParseTold(line []byte) *Told {
	told := &Told{}
	if json.Unmarshal(line, told) != nil || told.Data.Request == nil {
		return nil
	}
	return told
}

// Untold is I6 for records, once a state has settled and all is told: whatever happened to a
// request was told, by each writer at most once, after what led to it, and under one ID that
// always says the same. Nothing else was told.
func Untold(told []*Told, s State) []Violation {
	of := map[types.UID][]*Told{}
	for _, t := range told {
		of[t.Data.Request.UID] = append(of[t.Data.Request.UID], t)
	}
	var out []Violation
	for i := range s.Requests {
		req := &s.Requests[i]
		for _, text := range wrong(of[req.UID], transitionsOf(req, s.Decisions)) {
			out = append(out, Violation{"I6", req.UID, fmt.Sprintf("records of request %s/%s: %s", req.Namespace, req.Name, text)})
		}
	}
	return out
}

// wrong is what is so with what was told of one request.
func wrong(told []*Told, happened []transition) []string {
	out := repeated(told)
	first := map[string]int{}
	for i, t := range told {
		if _, again := first[t.ID]; again {
			continue
		}
		first[t.ID] = i
		if !slices.ContainsFunc(happened, func(h transition) bool { return h.id == t.ID && h.what == t.Type }) {
			out = append(out, fmt.Sprintf("%s, %s, was told and did not happen", t.ID, t.Type))
		}
	}
	for _, h := range happened {
		at, there := first[h.id]
		if !there {
			out = append(out, h.id+" was never told")
			continue
		}
		for _, cause := range h.after {
			if before, there := first[cause]; there && before > at {
				out = append(out, fmt.Sprintf("%s was told before %s", h.id, cause))
			}
		}
	}
	return out
}

// repeated is what is wrong with what was told more than once.
func repeated(told []*Told) (out []string) {
	known, by := map[string]*Told{}, map[[2]string]bool{}
	for _, t := range told {
		before, again := known[t.ID]
		switch {
		case !again:
			known[t.ID] = t
		case before.Type != t.Type || !before.Time.Equal(t.Time):
			out = append(out, t.ID+" says something else when it is told again")
		case by[[2]string{t.Writer, t.ID}]:
			out = append(out, fmt.Sprintf("%s was told twice by writer %s", t.ID, t.Writer))
		}
		by[[2]string{t.Writer, t.ID}] = true
	}
	return out
}

// transition is one thing that happened to a request.
type transition struct {
	id   string
	what audit.Type
	// after are the IDs of what led to it.
	after []string
}

// transitionsOf a request, as it and its decisions are in the end.
func transitionsOf(req *v1alpha1.AccessRequest, decisions []v1alpha1.AccessDecision) []transition {
	id := func(what string) string { return string(req.UID) + "/" + what }
	out := []transition{{id: id("asked"), what: audit.Asked}}
	// counted are approvals by which it was granted; heard is all that was said before the end.
	counted, heard := []string{id("asked")}, []string{id("asked")}
	for i := range decisions {
		d := &decisions[i]
		if d.Spec.RequestRef.UID != req.UID {
			continue
		}
		t := transitionOf(d)
		t.after = []string{id("asked")}
		out = append(out, t)
		if slices.ContainsFunc(req.Status.Approvals, func(a v1alpha1.Approval) bool { return a.Decision == d.Name }) {
			counted = append(counted, t.id)
		}
		if d.CreationTimestamp.Time.Before(endOf(req)) {
			heard = append(heard, t.id)
		}
	}
	g := req.Status.Grant
	if g == nil {
		if req.Status.State.Final() {
			out = append(out, transition{id("refused"), audit.Refused, heard})
		}
		return out
	}
	out = append(out, transition{id("granted"), audit.Granted, counted})
	if g.EndedAt != nil {
		out = append(out, transition{id("ended"), audit.Ended, append(heard, id("granted"))})
	}
	return out
}

func transitionOf(d *v1alpha1.AccessDecision) transition {
	what, word := audit.Approved, "approved"
	switch d.Spec.Verdict {
	case v1alpha1.VerdictDeny:
		what, word = audit.Denied, "denied"
	case v1alpha1.VerdictRevoke:
		what, word = audit.Revoked, "revoked"
	case v1alpha1.VerdictApprove:
	}
	return transition{id: string(d.UID) + "/" + word, what: what}
}

// endOf a request is when it was over, with or without access; zero while it is not.
func endOf(req *v1alpha1.AccessRequest) time.Time {
	if g := req.Status.Grant; g != nil {
		if g.EndedAt == nil {
			return time.Time{}
		}
		return g.EndedAt.Time
	}
	if ready := meta.FindStatusCondition(req.Status.Conditions, v1alpha1.ConditionReady); ready != nil && req.Status.State.Final() {
		return ready.LastTransitionTime.Time
	}
	return time.Time{}
}
