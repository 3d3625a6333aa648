// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var noon = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)

// looks is a record of looks, by the time since noon.
type looks struct {
	record Record
	now    time.Time
	took   time.Duration // each look
	lease  Known         // what is noted
}

func newLooks() *looks { return &looks{record: Record{Settle: SettleAfter}} }

func (l *looks) at(after time.Duration, look Look) State {
	l.now = noon.Add(after)
	l.record.Observe(l.now.Add(-l.took), l.now, look)
	if k, ok := l.record.ToNote(); ok {
		l.lease = k
		l.record.Noted(nil)
	}
	return l.record.State(l.now)
}

var (
	long    = noon.Add(-time.Hour)
	good    = Look{Versions: at(1), Newest: long}
	missing = Look{Versions: with(at(1), asks, Version{}), Newest: long, Problem: "a is missing"}
	altered = Look{Versions: with(at(1), asks, Version{"u", 2}), Newest: long, Problem: "a is not what this version ships"}
	unsure  = Look{Unsure: true, Problem: "no answer"}
)

const asks = "ValidatingAdmissionPolicy lapse-requester"

// at is what proves names, all of one generation.
func at(generation int64) Versions {
	v := Versions{}
	for _, name := range proving {
		v[name] = Version{"u", generation}
	}
	return v
}

// with is the same with one object of another version.
func with(v Versions, name string, version Version) Versions {
	v[name] = version
	return v
}

// want compares what is known, but for the gap before the policies were there.
func want(t *testing.T, a State, enforced bool, gaps ...Gap) {
	t.Helper()
	if a.Enforced != enforced || a.Enforced == (a.Problem != "") {
		t.Errorf("enforced = %t (%q), want %t", a.Enforced, a.Problem, enforced)
	}
	first := Gap{Until: long.Add(SettleAfter), Cause: "the admission policies were put in place only then"}
	if len(a.Gaps) > 0 && a.Gaps[0] == first {
		a.Gaps = a.Gaps[1:]
	}
	if fmt.Sprint(a.Gaps) != fmt.Sprint(gaps) {
		t.Errorf("gaps = %v, want %v", a.Gaps, gaps)
	}
}

func TestAdmissionRecord(t *testing.T) {
	t.Run("what goes while the last good look is under way is in the gap", func(t *testing.T) {
		l := newLooks()
		l.took = 8 * time.Second
		l.at(0, good)
		l.at(30*time.Second, good)
		want(t, l.at(60*time.Second, missing), false, Gap{From: noon.Add(22 * time.Second), Cause: missing.Problem})
	})
	t.Run("nobody has looked: not enforced, and no reason is given", func(t *testing.T) {
		if a := (&Record{}).State(noon); a.Enforced || a.Problem != "" {
			t.Errorf("admission = %+v", a)
		}
	})
	t.Run("policies that were there count at once", func(t *testing.T) {
		l := newLooks()
		a := l.at(0, good)
		want(t, a, true)
		if gap := a.Gap(metav1.NewTime(long)); gap == nil {
			t.Error("a request that was made when the policies were is not refused")
		}
	})
	t.Run("policies that were put in place a moment ago settle first", func(t *testing.T) {
		l, fresh := newLooks(), Look{Versions: at(1), Newest: noon}
		want(t, l.at(SettleAfter-time.Millisecond, fresh), false)
		want(t, l.at(SettleAfter, fresh), true, Gap{Until: noon.Add(SettleAfter), Cause: "the admission policies were put in place only then"})
	})
	t.Run("a policy that goes opens a gap from the last good look until it is back and has settled", func(t *testing.T) {
		l := newLooks()
		l.at(0, good)
		l.at(time.Minute, good)
		want(t, l.at(90*time.Second, missing), false, Gap{From: noon.Add(time.Minute), Cause: "a is missing"})
		back := Look{Versions: with(at(1), asks, Version{"v", 1}), Newest: noon.Add(2 * time.Minute)}
		want(t, l.at(2*time.Minute, back), false, Gap{From: noon.Add(time.Minute), Cause: "a is missing"})
		want(t, l.at(2*time.Minute+SettleAfter, back), true,
			Gap{From: noon.Add(time.Minute), Until: noon.Add(2*time.Minute + SettleAfter), Cause: "a is missing"})
	})
	t.Run("a change and back between two looks is a gap", func(t *testing.T) {
		l := newLooks()
		l.at(0, good)
		again := Look{Versions: with(at(1), asks, Version{"u", 3}), Newest: long}
		want(t, l.at(time.Minute, again), false, Gap{From: noon, Cause: "the admission policies were changed"})
		want(t, l.at(time.Minute+SettleAfter, again), true,
			Gap{From: noon, Until: noon.Add(time.Minute + SettleAfter), Cause: "the admission policies were changed"})
	})
	t.Run("no answer grants nothing and is no gap, as nothing changed meanwhile", func(t *testing.T) {
		l := newLooks()
		l.at(0, good)
		want(t, l.at(time.Minute, unsure), false)
		want(t, l.at(2*time.Minute, good), true)
	})
	t.Run("no answer while a policy is missing forgets nothing", func(t *testing.T) {
		l := newLooks()
		l.at(0, good)
		l.at(time.Minute, missing)
		want(t, l.at(2*time.Minute, unsure), false, Gap{From: noon, Cause: "a is missing"})
	})
	t.Run("policies that were missing at the first look: nobody knows since when", func(t *testing.T) {
		l := newLooks()
		want(t, l.at(0, missing), false, Gap{Cause: "a is missing"})
		l.at(time.Minute, good)
		want(t, l.at(time.Minute+SettleAfter, good), true, Gap{Until: noon.Add(time.Minute + SettleAfter), Cause: "a is missing"})
	})
	t.Run("who asks as soon as they count is not refused, though creation is told in whole seconds", func(t *testing.T) {
		l, late := newLooks(), 300*time.Millisecond
		l.at(0, missing)
		l.at(late, good)
		want(t, l.at(late+SettleAfter, good), false, Gap{Cause: "a is missing"}) // others were made in that second
		a := l.at(late+SettleAfter+time.Second, good)
		want(t, a, true, Gap{Until: noon.Add(SettleAfter + time.Second), Cause: "a is missing"})
		if gap := a.Gap(metav1.NewTime(l.now.Truncate(time.Second))); gap != nil {
			t.Errorf("a request of now is refused: %v", gap)
		}
	})
	t.Run("an old look does not count", func(t *testing.T) {
		l := newLooks()
		l.at(0, good)
		want(t, l.record.State(noon.Add(staleAfter)), true)
		want(t, l.record.State(noon.Add(staleAfter+1)), false)
	})
}

func TestManyGapsBecomeFewAndNeverLessIsRefused(t *testing.T) {
	l := newLooks()
	for i := range 100 {
		l.at(time.Duration(2*i)*time.Minute, missing)
		l.at(time.Duration(2*i)*time.Minute+time.Second, good)
		l.at(time.Duration(2*i)*time.Minute+time.Second+SettleAfter, good)
	}
	a := l.record.State(l.now)
	if len(a.Gaps) != maxGaps {
		t.Errorf("%d gaps", len(a.Gaps))
	}
	for i := range 100 {
		if at := noon.Add(time.Duration(2*i)*time.Minute + time.Second); a.Gap(metav1.NewTime(at)) == nil {
			t.Errorf("a request made at %s is not refused", at)
		}
	}
}
