// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package message

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/audit"
	"github.com/lapse-dev/lapse/internal/policy"
)

// View is a request and what belongs to it, as it is now.
type View struct {
	// Source is the cluster.
	Source    string
	Request   v1alpha1.Request
	Decisions []v1alpha1.AccessDecision
	// Policy that the request is under; nil if that is gone.
	Policy *v1alpha1.AccessPolicy
	// Gone says that the request was deleted.
	Gone bool
	Now  time.Time
}

// repeatEvery is how often an alert is said again: Alertmanager forgets them when it starts anew.
const repeatEvery = 5 * time.Minute

// Of are all messages about a request that are due, in order, and when the next is; zero if
// none is to come. What only calls to do something is left out when it is too late for that.
func Of(v View, o Options) (out []Message, next time.Time) {
	a := about{View: v, Options: o, status: v.Request.RequestStatus()}
	a.count()
	records := audit.Of(v.Source, v.Request, v.Decisions)
	if v.Gone {
		records = append(records, audit.Gone(v.Source, v.Request, v.Now)...)
	}
	a.data = records[0].Data
	for i := range records {
		out = append(out, a.happened(&records[i])...)
	}
	waits, first := a.waits()
	ends, second := a.ends()
	out = append(append(out, waits...), ends...)
	if o.Redact {
		for i := range out {
			out[i] = out[i].Redacted()
		}
	}
	slices.SortStableFunc(out, func(a, b Message) int { return a.At.Compare(b.At) })
	return out, sooner(first, second)
}

// sooner is the earlier of both; zero stands for never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// about makes the messages of one request.
type about struct {
	View
	Options
	status *v1alpha1.AccessRequestStatus
	// data as records have it.
	data audit.Data
	// until approvals may come, halfway to which people are reminded, and how they stand; zero
	// if the request is under no policy that is there and asks for any.
	until, half time.Time
	tally       policy.Tally
}

func (a *about) count() {
	if a.Policy == nil || len(a.Policy.Spec.Approvals) == 0 {
		return
	}
	d, asked := policy.CountedAs(&a.Policy.Spec), a.Request.GetCreationTimestamp().Time
	a.until, a.half = asked.Add(d.ApprovalTimeout), asked.Add(d.ApprovalTimeout/2)
	a.tally = d.Count(a.Request, a.Decisions, a.until)
	if end := a.Request.RequestSpec().NotAfter; end != nil && end.Time.Before(a.until) {
		a.until = end.Time
	}
}

// pending says whether an approval is missing and would count.
func (a *about) pending() bool {
	return a.status.State == v1alpha1.StatePending && !a.Gone && !a.tally.Met() && a.Now.Before(a.until)
}

// waits is what is told while the request waits for approval.
func (a *about) waits() (out []Message, next time.Time) {
	if !a.pending() {
		return a.waited(), time.Time{}
	}
	out = append(out, a.waiting(Asked, "asked", a.Request.GetCreationTimestamp().Time))
	if a.Now.Before(a.half) {
		return out, a.half
	}
	at, id, next := a.again(a.half, "waiting")
	return append(out, a.waiting(StillWaiting, id, at)), next
}

// waited ends the alert that a request waits.
func (a *about) waited() []Message {
	at := a.left()
	if !a.Alerts || a.half.IsZero() || at.Before(a.half) {
		return nil
	}
	m := a.message(StillWaiting, "waiting/over", at, "A request in %s does not wait any more")
	m.Over, m.Until = true, at
	return []Message{m}
}

// over is when the request was over; zero before that.
func (a *about) over() time.Time {
	ready := meta.FindStatusCondition(a.status.Conditions, v1alpha1.ConditionReady)
	switch g := a.status.Grant; {
	case g != nil && g.EndedAt != nil:
		return g.EndedAt.Time
	case a.status.State.Final() && ready != nil:
		return ready.LastTransitionTime.Time
	}
	return time.Time{}
}

// left is when a request was approved, refused or deleted, as far as that can be seen.
func (a *about) left() (at time.Time) {
	ready := meta.FindStatusCondition(a.status.Conditions, v1alpha1.ConditionReady)
	switch {
	case a.status.Grant != nil:
		return a.status.Grant.GrantedAt.Time
	case a.status.State == v1alpha1.StatePending && a.Gone:
		return a.Now
	case a.status.State != "" && a.status.State != v1alpha1.StatePending && ready != nil:
		return ready.LastTransitionTime.Time
	}
	return time.Time{}
}

// again is when something that lasts was to be said the last time, and by which name, and when
// the next is. What is no alert is said once.
func (a *about) again(since time.Time, name string) (at time.Time, id string, next time.Time) {
	if !a.Alerts {
		return since, name, time.Time{}
	}
	n := a.Now.Sub(since) / repeatEvery
	at = since.Add(n * repeatEvery)
	return at, fmt.Sprintf("%s/%d", name, n), at.Add(repeatEvery)
}

// ends is what is told while access is held.
func (a *about) ends() (out []Message, next time.Time) {
	g := a.status.Grant
	if g == nil || g.EndedAt != nil || a.Gone || !a.Now.Before(g.ExpiresAt.Time) {
		return nil, time.Time{}
	}
	if a.Alerts {
		at, id, next := a.again(g.GrantedAt.Time, "held")
		m := a.granted(id, at)
		m.Timed = true
		return []Message{m}, next
	}
	due := g.ExpiresAt.Add(-a.EndsIn)
	if a.EndsIn <= 0 || !due.After(g.GrantedAt.Time) {
		return nil, time.Time{} // it was told with the grant
	}
	if a.Now.Before(due) {
		return nil, due
	}
	m := a.message(EndingSoon, "ending", due, "Access in %s ends soon")
	m.Until = g.ExpiresAt.UTC()
	m.add("Ends at", stamp(g.ExpiresAt.Time))
	return []Message{m}, time.Time{}
}
