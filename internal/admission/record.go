// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"maps"
	"slices"
	"time"

	"github.com/lapse-dev/lapse/internal/text"
)

// SettleAfter is the usual Record.Settle: kube-apiserver, of which there may be
// several, takes a second or two.
const SettleAfter = 5 * time.Second

// staleAfter is how old a look may be for its answer to count.
const staleAfter = 2 * time.Minute

const (
	// maxGaps bounds how many gaps are remembered one by one.
	maxGaps = 32
	// maxCause bounds what is said of each, in bytes: they are noted in one object.
	maxCause = 500
)

// Look is one look at the admission policies.
type Look struct {
	// Versions of the policies that ship; that of one that is missing is zero.
	Versions Versions
	// Newest is when the newest of them was created.
	Newest time.Time
	// Problem is what is wrong with them; empty when all are as they should be and a
	// false requester is refused.
	Problem string
	// Remedy is what to do about the problem.
	Remedy string
	// LetIn says that the problem is a false name that was not refused.
	LetIn bool
	// Unsure says that nothing could be found out; Problem says why.
	Unsure bool
}

// Known is what the next operator has to know of policies that it did not see. It may be of
// another version of Lapse: fields are only added.
type Known struct {
	// Good is when the last good look before it was noted began.
	Good time.Time `json:"good"`
	// Versions of the policies at that look; none before the first.
	Versions Versions `json:"versions"`
	// Gaps that there were until then. The last one has no end, if it went on.
	Gaps []Gap `json:"gaps,omitempty"`
}

// Record makes of looks what is known. It is not safe for concurrent use.
type Record struct {
	// Settle is how long after policies were put in place they count as in force.
	Settle time.Duration

	looked   time.Time // last look
	good     time.Time // when the last good look began; zero before the first
	versions Versions  // at the last good look; none before the first
	broken   string    // what was found wrong since the last good look
	certain  bool      // and it is certain that this was a gap
	problem  string    // why they are not in force now
	remedy   string    // what to do about it

	settling      Versions // what waits for being settled
	settlingSince time.Time

	gaps []Gap

	noted    bool   // the note says all that the next operator has to know
	unnoted  string // why the last note could not be written
	recalled bool   // what is known is from a note: no look of this process was good yet
}

// Recall what an operator before this one knew, before the first look. A time that is yet to
// come says nothing.
func (r *Record) Recall(now time.Time, k Known) {
	r.versions, r.gaps, r.noted, r.recalled = k.Versions, k.Gaps, true, true
	if k.Good.Before(now) {
		r.good = k.Good
	}
	if n := len(k.Gaps); n > 0 && k.Gaps[n-1].Until.IsZero() {
		open := k.Gaps[n-1]
		r.gaps, r.broken, r.certain = k.Gaps[:n-1], open.Cause, !open.Doubtful
	}
}

// RecalledLate says that it could not be found out for a while what an operator before this one
// knew, and that there was none: nobody looked meanwhile.
func (r *Record) RecalledLate() {
	r.broken, r.certain = "what is known of the admission policies could not be read", true
}

// ToNote is what the next operator has to know. ok is false if it was noted already, or nothing
// is known yet. Nothing counts as in force before it is noted.
func (r *Record) ToNote() (k Known, ok bool) {
	return Known{Good: r.good, Versions: r.versions, Gaps: r.all()}, !r.noted && len(r.versions) > 0
}

// all gaps, the last of which may go on.
func (r *Record) all() []Gap {
	gaps := slices.Clone(r.gaps)
	if r.broken != "" {
		gaps = append(gaps, Gap{From: r.good, Cause: text.Cut(r.broken, maxCause), Doubtful: !r.certain})
	}
	return gaps
}

// Noted says what became of noting what was to be noted last.
func (r *Record) Noted(err error) {
	if r.noted, r.unnoted = err == nil, ""; err != nil {
		r.unnoted = err.Error()
	}
}

// Observe takes a look into account, which takes some time: what it saw first may have gone
// since it began. Both times are the API server's.
func (r *Record) Observe(began, now time.Time, look Look) {
	r.looked = now
	switch {
	case look.Unsure:
		r.problem, r.remedy = look.Problem, look.Remedy
	case look.Problem != "":
		// What this process itself found right, and is wrong now at the same version, was put
		// there by a restored backup.
		turned := !r.recalled && r.versions.stay(look.Versions)
		certain := r.certain || look.LetIn || turned || !r.versions.leadTo(look.Versions)
		r.noted = r.noted && r.broken != "" && r.certain == certain
		r.broken, r.certain, r.problem, r.remedy, r.settling = look.Problem, certain, look.Problem, look.Remedy, nil
	case r.versions.stay(look.Versions) && r.broken == "":
		versions := r.versions.and(look.Versions)
		r.noted = r.noted && maps.Equal(r.versions, versions)
		r.good, r.versions, r.problem, r.recalled = began, versions, "", false
	default:
		r.settle(began, now, look)
	}
}

// settle takes policies that are new, or whole again, as in force after a while.
func (r *Record) settle(began, now time.Time, look Look) {
	first := len(r.versions) == 0
	if !maps.Equal(r.settling, look.Versions) {
		r.settling, r.settlingSince = look.Versions, now
		if first && r.broken == "" {
			r.settlingSince = look.Newest
		}
	}
	if !first && !r.versions.leadTo(look.Versions) {
		r.certain = true
		if r.broken == "" {
			r.broken = "the admission policies were changed"
		}
	}
	// Creation is told in whole seconds: a request of the second in which they count must
	// not be taken for one from before.
	now, settled := now.Truncate(time.Second), r.settlingSince.Add(r.Settle+time.Second-1).Truncate(time.Second)
	if now.Before(settled) {
		r.problem, r.remedy = "the admission policies were put in place a moment ago", "they are counted on from "+text.Time(settled)+" on"
		return
	}
	if first || r.recalled && r.certain { // what was recalled may be of another cluster
		r.remember(Gap{Until: look.Newest.Add(r.Settle), Cause: "the admission policies were put in place only then"})
	}
	if r.certain {
		// Before the first good look nobody knows when it began.
		r.remember(Gap{From: r.good, Until: now, Cause: text.Cut(r.broken, maxCause)})
	}
	r.good, r.versions, r.problem, r.settling = began, r.versions.and(look.Versions), "", nil
	r.broken, r.certain, r.noted, r.recalled = "", false, false, false
}

// remember keeps a gap. When there are many, the two oldest become one: more is refused
// then, never less.
func (r *Record) remember(g Gap) {
	same := func(other Gap) bool {
		return other.From.Equal(g.From) && other.Until.Equal(g.Until) && other.Cause == g.Cause
	}
	if slices.ContainsFunc(r.gaps, same) {
		return
	}
	r.gaps = append(r.gaps, g)
	if len(r.gaps) > maxGaps {
		r.gaps[1].From = r.gaps[0].From
		r.gaps = r.gaps[1:]
	}
}

// State is what is known at a time of the API server.
func (r *Record) State(now time.Time) State {
	s := State{Problem: r.problem, Remedy: r.remedy, Gaps: r.all()}
	if r.broken != "" && !r.certain && s.Problem == r.broken { // still altered, and not settling
		s.Remedy = "in an upgrade, wait for the new operator; otherwise " + s.Remedy
	}
	if _, late := r.ToNote(); late && s.Problem == "" {
		s.Problem = "it is not noted yet which of them are in force"
		if r.unnoted != "" {
			s.Problem += ": " + r.unnoted
		}
		s.Remedy = NoteRemedy
	}
	if r.problem == "" && !r.looked.IsZero() && now.Sub(r.looked) > staleAfter {
		s.Problem = "nobody has looked at the admission policies since " + text.Time(r.looked)
		s.Remedy = "see whether the operator reaches the API server"
	}
	s.Enforced = s.Problem == "" && len(r.versions) > 0 && !r.looked.IsZero()
	return s
}
