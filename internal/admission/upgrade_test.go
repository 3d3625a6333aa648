// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"
)

// next is what the operator that is started next knows after what this one noted.
func (l *looks) next(t *testing.T) *looks {
	t.Helper()
	k, _ := l.record.ToNote()
	text, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	k = Known{}
	if err := json.Unmarshal(text, &k); err != nil {
		t.Fatal(err)
	}
	n := newLooks()
	n.record.Recall(k)
	return n
}

const second = time.Second

// Each begins with an operator that found all in force at noon.
func TestANewVersionIsNoGap(t *testing.T) {
	const added = "ValidatingAdmissionPolicy lapse-added"
	doubt := Gap{From: noon, Cause: altered.Problem, Doubtful: true}
	upgraded := Look{Versions: at(2), Newest: long}
	more := Look{Versions: with(at(2), added, Version{"w", 1}), Newest: noon.Add(second)}
	began := func() *looks {
		l := newLooks()
		l.at(0, good)
		return l
	}
	t.Run("whoever ran before waits, and the next one counts on what ships with it after a while", func(t *testing.T) {
		l := began()
		want(t, l.at(second, altered), false, doubt)
		s := l.at(2*second, Look{Versions: at(2), Problem: altered.Problem, Remedy: "put them back"})
		want(t, s, false, doubt)
		if want := "in an upgrade, wait for the new operator; otherwise put them back"; s.Remedy != want {
			t.Errorf("remedy = %q, want %q", s.Remedy, want)
		}
		n := l.next(t)
		want(t, n.at(3*second, upgraded), false)
		want(t, n.at(3*second+SettleAfter, upgraded), true)
	})
	t.Run("also where the next one is there first", func(t *testing.T) {
		n := began().next(t)
		old := Look{Versions: with(at(1), added, Version{}), Problem: "a is not what this version ships; it is missing"}
		want(t, n.at(second, old), false, Gap{From: noon, Cause: old.Problem, Doubtful: true})
		s := n.at(2*second, more)
		want(t, s, false, Gap{From: noon, Cause: old.Problem, Doubtful: true})
		if !strings.HasPrefix(s.Remedy, "they are counted on from") {
			t.Errorf("remedy = %q", s.Remedy)
		}
		want(t, n.at(2*second+SettleAfter, more), true)
	})
	t.Run("also back to the old one, which does not know what was added", func(t *testing.T) {
		n := began().next(t)
		n.at(second, more)
		want(t, n.at(second+SettleAfter, more), true)
		old := n.next(t)
		back := Look{Versions: at(3), Newest: long}
		old.at(time.Minute, back)
		want(t, old.at(time.Minute+SettleAfter, back), true)
	})
	t.Run("what was altered and put back is one, whoever was there meanwhile", func(t *testing.T) {
		back := Look{Versions: with(at(1), asks, Version{"u", 3}), Newest: long}
		gap := Gap{From: noon, Until: noon.Add(time.Minute + SettleAfter), Cause: altered.Problem}
		l := began()
		want(t, l.at(second, altered), false, doubt)
		gap.Until = time.Time{}
		want(t, l.at(time.Minute, back), false, gap)
		gap.Until = noon.Add(time.Minute + SettleAfter)
		want(t, l.at(time.Minute+SettleAfter, back), true, gap)

		n := began().next(t)
		n.at(time.Minute, back)
		gap.Cause = "the admission policies were changed"
		want(t, n.at(time.Minute+SettleAfter, back), true, gap)
		want(t, n.next(t).at(time.Hour, back), true, gap)
	})
	t.Run("what was altered before the new version came is one", func(t *testing.T) {
		weakened := Look{Versions: with(at(2), asks, Version{"u", 3}), Newest: long}
		n := began().next(t)
		n.at(second, weakened)
		want(t, n.at(second+SettleAfter, weakened), true,
			Gap{From: noon, Until: noon.Add(second + SettleAfter), Cause: "the admission policies were changed"})
	})
	t.Run("what was made anew, or is older than it was, is one", func(t *testing.T) {
		for _, v := range []Version{{"v", 1}, {"v", 2}, {"u", 0}} {
			n, look := began().next(t), Look{Versions: with(at(2), asks, v), Newest: long}
			n.at(second, look)
			if s := n.at(second+SettleAfter, look); !s.Enforced || len(s.Gaps) != 2 {
				t.Errorf("%v: %+v", v, s)
			}
		}
	})
	t.Run("a false name that was let in is one, though no object changed", func(t *testing.T) {
		l, cause := began(), "false names are let in"
		letIn := Look{Versions: at(1), Newest: long, Problem: cause, LetIn: true}
		want(t, l.at(second, letIn), false, Gap{From: noon, Cause: cause})
		l.at(2*second, good)
		want(t, l.at(2*second+SettleAfter, good), true, Gap{From: noon, Until: noon.Add(2*second + SettleAfter), Cause: cause})
	})
	t.Run("a stamp may come and go, and is altered as a policy is", func(t *testing.T) {
		const stamp = "MutatingAdmissionPolicy lapse-requester"
		stamped := func(v Version) Look { return Look{Versions: with(at(1), stamp, v), Newest: long} }
		l := began()
		for _, v := range []Version{{}, {"s", 1}, {}, {"t", 1}, {"s", 7}} {
			want(t, l.at(second, stamped(v)), true)
		}
		bad := stamped(Version{"s", 8})
		bad.Problem = "the stamp is altered"
		for _, after := range []Version{{"s", 9}, {}, {"t", 1}} {
			l := l.next(t)
			want(t, l.at(second, bad), false, Gap{From: noon.Add(second), Cause: bad.Problem, Doubtful: true})
			l.at(2*second, stamped(after))
			want(t, l.at(2*second+SettleAfter, stamped(after)), true,
				Gap{From: noon.Add(second), Until: noon.Add(2*second + SettleAfter), Cause: bad.Problem})
		}
	})
	t.Run("nothing is known by a note that lacks what proves names", func(t *testing.T) {
		known := maps.Clone(at(1))
		delete(known, asks)
		l := newLooks()
		l.record.Recall(Known{Good: noon, Versions: known})
		l.at(second, upgraded)
		if s := l.at(second+SettleAfter, upgraded); !s.Enforced || len(s.Gaps) != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestWhatWasNotedIsNotInForceBeforeALook(t *testing.T) {
	l := newLooks()
	l.at(0, good)
	n := l.next(t)
	if s := n.record.State(noon.Add(second)); s.Enforced || s.Problem != "" {
		t.Errorf("nobody has looked: %+v", s)
	}
	want(t, n.at(second, good), true)
}

func TestNothingIsInForceThatIsNotNoted(t *testing.T) {
	l := newLooks()
	l.record.Observe(noon, noon, good)
	if s := l.record.State(noon); s.Enforced || s.Remedy != NoteRemedy {
		t.Errorf("it is not noted yet: %+v", s)
	}
	l.record.Noted(errors.New("leases are forbidden"))
	if s := l.record.State(noon); s.Enforced || !strings.Contains(s.Problem, "leases are forbidden") {
		t.Errorf("it could not be noted: %+v", s)
	}
	l.record.Noted(nil)
	if s := l.record.State(noon); !s.Enforced {
		t.Errorf("it is noted: %+v", s)
	}
	if _, ok := l.record.ToNote(); ok {
		t.Error("it is to be noted again")
	}
}
