// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"slices"
	"time"

	"github.com/lapse-dev/lapse/internal/text"
)

// SettleAfter is the usual Record.Settle: kube-apiserver, of which there may be
// several, takes a second or two.
const SettleAfter = 5 * time.Second

// staleAfter is how old a look may be for its answer to count.
const staleAfter = 2 * time.Minute

// maxGaps bounds how many gaps are remembered one by one.
const maxGaps = 32

// Look is one look at the admission policies.
type Look struct {
	// Objects changes with every change of the policies.
	Objects string
	// Newest is when the newest of them was created.
	Newest time.Time
	// Problem is what is wrong with them; empty when all are as they should be and a
	// false requester is refused.
	Problem string
	// Remedy is what to do about the problem.
	Remedy string
	// Unsure says that nothing could be found out; Problem says why.
	Unsure bool
}

// Record makes of looks what is known. It is not safe for concurrent use.
type Record struct {
	// Settle is how long after policies were put in place they count as in force.
	Settle time.Duration

	looked  time.Time // last look
	good    time.Time // when the last good look began; zero before the first
	objects string    // of the last good look; empty before the first
	broken  string    // what was found wrong since the last good look
	problem string    // why they are not in force now
	remedy  string    // what to do about it

	settling      string // objects that wait for being settled
	settlingSince time.Time

	gaps []Gap
}

// Observe takes a look into account, which takes some time: what it saw first may have gone
// since it began. Both times are the API server's.
func (r *Record) Observe(began, now time.Time, look Look) {
	r.looked = now
	switch {
	case look.Unsure:
		r.problem, r.remedy = look.Problem, look.Remedy
	case look.Problem != "":
		r.broken, r.problem, r.remedy, r.settling = look.Problem, look.Problem, look.Remedy, ""
	case look.Objects == r.objects && r.broken == "":
		r.good, r.problem = began, ""
	default:
		r.settle(began, now, look)
	}
}

// settle takes policies that are new, or whole again, as in force after a while.
func (r *Record) settle(began, now time.Time, look Look) {
	first := r.objects == ""
	if r.settling != look.Objects {
		r.settling, r.settlingSince = look.Objects, now
		if first && r.broken == "" {
			r.settlingSince = look.Newest
		}
	}
	if r.broken == "" && !first {
		r.broken = "the admission policies were changed"
	}
	// Creation is told in whole seconds: a request of the second in which they count must
	// not be taken for one from before.
	now, settled := now.Truncate(time.Second), r.settlingSince.Add(r.Settle+time.Second-1).Truncate(time.Second)
	if now.Before(settled) {
		r.problem, r.remedy = "the admission policies were put in place a moment ago", "they are counted on from "+text.Time(settled)+" on"
		return
	}
	if first {
		r.remember(Gap{Until: look.Newest.Add(r.Settle), Cause: "the admission policies were put in place only then"})
	}
	if r.broken != "" {
		// Before the first good look nobody knows when it began.
		r.remember(Gap{From: r.good, Until: now, Cause: r.broken})
	}
	r.good, r.objects, r.broken, r.problem, r.settling = began, look.Objects, "", "", ""
}

// remember keeps a gap. When there are many, the two oldest become one: more is refused
// then, never less.
func (r *Record) remember(g Gap) {
	r.gaps = append(r.gaps, g)
	if len(r.gaps) > maxGaps {
		r.gaps[1].From = r.gaps[0].From
		r.gaps = r.gaps[1:]
	}
}

// State is what is known at a time of the API server.
func (r *Record) State(now time.Time) State {
	s := State{Problem: r.problem, Remedy: r.remedy, Gaps: slices.Clip(r.gaps)}
	if r.broken != "" {
		s.Gaps = append(s.Gaps, Gap{From: r.good, Cause: r.broken})
	}
	if r.problem == "" && !r.looked.IsZero() && now.Sub(r.looked) > staleAfter {
		s.Problem = "nobody has looked at the admission policies since " + text.Time(r.looked)
		s.Remedy = "see whether the operator reaches the API server"
	}
	s.Enforced = s.Problem == "" && r.objects != ""
	return s
}
