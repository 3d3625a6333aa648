// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// next is the operator that is started next, and knows what is noted.
func (l *looks) next(t *testing.T) *looks {
	t.Helper()
	text, err := json.Marshal(l.lease)
	if err != nil {
		t.Fatal(err)
	}
	n := newLooks()
	if err := json.Unmarshal(text, &n.lease); err != nil {
		t.Fatal(err)
	}
	n.record.Recall(l.now.Add(time.Nanosecond), n.lease)
	return n
}

// settled is a look after which what is whole counts.
func (l *looks) settled(after time.Duration, look Look) State {
	l.at(after, look)
	return l.at(after+SettleAfter+second, look)
}

// refuses says whether a request of that time is refused.
func refuses(s State, made time.Time) bool {
	g := s.Gap(metav1.NewTime(made))
	return g != nil && !g.Doubtful
}

const second = time.Second

// begun is an operator that found all in force at noon.
func begun() *looks {
	l := newLooks()
	l.at(0, good)
	return l
}

const added = "ValidatingAdmissionPolicy lapse-added"

// The next version changes each policy, and may bring one more.
var (
	upgraded = Look{Versions: at(2), Newest: long}
	more     = Look{Versions: with(at(2), added, Version{"w", 1}), Newest: noon.Add(second)}
)

func TestANewVersionIsNoGap(t *testing.T) {
	doubt := Gap{From: noon, Cause: altered.Problem, Doubtful: true}
	t.Run("whoever ran before waits, and the next one counts on what ships with it after a while", func(t *testing.T) {
		l := begun()
		want(t, l.at(second, altered), false, doubt)
		s := l.at(2*second, Look{Versions: at(2), Problem: altered.Problem, Remedy: "put them back"})
		want(t, s, false, doubt)
		if want := "in an upgrade, wait for the new operator; otherwise put them back"; s.Remedy != want {
			t.Errorf("remedy = %q, want %q", s.Remedy, want)
		}
		n := l.next(t)
		want(t, n.at(3*second, upgraded), false, doubt)
		want(t, n.at(3*second+SettleAfter, upgraded), true)
	})
	t.Run("also where the next one is there first", func(t *testing.T) {
		n := begun().next(t)
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
		n := begun().next(t)
		n.at(second, more)
		want(t, n.at(second+SettleAfter, more), true)
		old := n.next(t)
		back := Look{Versions: at(3), Newest: long}
		old.at(time.Minute, back)
		want(t, old.at(time.Minute+SettleAfter, back), true)
	})
	t.Run("what was altered and put back is one, whoever was there meanwhile", func(t *testing.T) {
		back := Look{Versions: with(at(1), asks, Version{"u", 3}), Newest: long}
		gap := Gap{From: noon, Cause: altered.Problem}
		l := begun()
		want(t, l.at(second, altered), false, doubt)
		want(t, l.at(time.Minute, back), false, gap)
		gap.Until = noon.Add(time.Minute + SettleAfter)
		want(t, l.at(time.Minute+SettleAfter, back), true, gap)

		n := begun().next(t)
		n.at(time.Minute, back)
		gap.Cause = "the admission policies were changed"
		want(t, n.at(time.Minute+SettleAfter, back), true, gap)
		want(t, n.next(t).at(time.Hour, back), true, gap)
	})
	t.Run("what was altered before the new version came is one", func(t *testing.T) {
		weakened := Look{Versions: with(at(2), asks, Version{"u", 3}), Newest: long}
		n := begun().next(t)
		n.at(second, weakened)
		want(t, n.at(second+SettleAfter, weakened), true,
			Gap{From: noon, Until: noon.Add(second + SettleAfter), Cause: "the admission policies were changed"})
	})
	t.Run("what was made anew, or is older than it was, is one", func(t *testing.T) {
		for _, v := range []Version{{"v", 1}, {"v", 2}, {"u", 0}} {
			n, look := begun().next(t), Look{Versions: with(at(2), asks, v), Newest: long}
			n.at(second, look)
			if s := n.at(second+SettleAfter, look); !s.Enforced || len(s.Gaps) != 2 {
				t.Errorf("%v: %+v", v, s)
			}
		}
	})
	t.Run("a false name that was let in is one, though no object changed", func(t *testing.T) {
		l, cause := begun(), "false names are let in"
		letIn := Look{Versions: at(1), Newest: long, Problem: cause, LetIn: true}
		want(t, l.at(second, letIn), false, Gap{From: noon, Cause: cause})
		l.at(2*second, good)
		want(t, l.at(2*second+SettleAfter, good), true, Gap{From: noon, Until: noon.Add(2*second + SettleAfter), Cause: cause})
	})
}

func TestWhatANewVersionBringsOrFinds(t *testing.T) {
	t.Run("a stamp may come and go, and is altered as a policy is", func(t *testing.T) {
		const stamp = "MutatingAdmissionPolicy lapse-requester"
		stamped := func(v Version) Look { return Look{Versions: with(at(1), stamp, v), Newest: long} }
		l := begun()
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
	t.Run("the stamps come with a new version", func(t *testing.T) {
		with := Look{Versions: with(at(2), "MutatingAdmissionPolicy lapse-requester", Version{"s", 1}), Newest: long}
		l := begun()
		n, old := l.next(t), with
		old.Problem = altered.Problem
		if refuses(l.at(second, old), noon) || refuses(n.settled(second, with), noon) {
			t.Error("what was asked for meanwhile is refused")
		}
	})
	t.Run("what only the new version ships is weakened and put back", func(t *testing.T) {
		n := begun().next(t)
		n.at(second, more)
		weak := Look{Versions: with(at(2), added, Version{"w", 2}), Newest: noon, Problem: "it is altered"}
		n.at(2*second, weak)
		if s := n.settled(20*second, Look{Versions: with(at(2), added, Version{"w", 3}), Newest: noon}); !refuses(s, noon.Add(10*second)) {
			t.Errorf("%+v", s)
		}
	})
	t.Run("nothing is known by a note that lacks what proves names", func(t *testing.T) {
		known := at(1)
		delete(known, asks)
		l := newLooks()
		l.record.Recall(noon.Add(second), Known{Good: noon, Versions: known})
		if s := l.settled(second, upgraded); !s.Enforced || !refuses(s, noon.Add(second)) {
			t.Errorf("%+v", s)
		}
	})
}

func TestWhatIsFoundInLaterLooks(t *testing.T) {
	t.Run("a backup of etcd is restored, and the same version is another one", func(t *testing.T) {
		weak := Look{Versions: at(1), Newest: long, Problem: altered.Problem}
		restarted := begun().next(t)
		restarted.at(second, good)
		for _, l := range []*looks{begun(), restarted} {
			l.at(10*second, weak)
			if s := l.settled(20*second, upgraded); !s.Enforced || !refuses(s, noon.Add(11*second)) {
				t.Errorf("%+v", s)
			}
		}
	})
	t.Run("a policy goes, and what was asked before that is not refused, also after a restart", func(t *testing.T) {
		l := begun().next(t)
		l.at(time.Minute, good)
		l.at(2*time.Minute, missing)
		back := Look{Versions: with(at(1), asks, Version{"v", 1}), Newest: noon.Add(3 * time.Minute)}
		if s := l.settled(3*time.Minute, back); refuses(s, noon.Add(30*second)) || !refuses(s, noon.Add(2*time.Minute)) {
			t.Errorf("%+v", s)
		}
	})
	t.Run("a policy that is not looked at for a while is not forgotten", func(t *testing.T) {
		l := newLooks()
		l.at(0, more)
		l.at(time.Minute, upgraded) // by flags of the operator
		s := l.settled(2*time.Minute, more)
		if refuses(s, noon.Add(90*second)) {
			t.Errorf("it is as it was: %+v", s)
		}
	})
}

func TestAGapOutlivesTheOperator(t *testing.T) {
	const months = 60 * 24 * time.Hour
	back := Look{Versions: with(at(1), asks, Version{"u", 3}), Newest: long}
	letIn := Look{Versions: at(1), Newest: long, Problem: "false names are let in", LetIn: true}
	for name, tc := range map[string]struct{ meanwhile, after Look }{
		"a policy is altered": {altered, back}, "a false name is let in": {letIn, good},
	} {
		l := newLooks()
		l.at(0, good)
		l.at(months, good)
		l.at(months+second, tc.meanwhile)
		s := l.next(t).settled(months+time.Minute, tc.after)
		if !s.Enforced || !refuses(s, noon.Add(months+10*second)) {
			t.Errorf("%s: what was made meanwhile counts: %+v", name, s)
		}
		if refuses(s, noon.Add(months-time.Hour)) {
			t.Errorf("%s: what was made an hour before is refused: %+v", name, s)
		}
	}
}

// The Lease may be from a backup of another cluster, or say of a time that is yet to come.
func TestANoteThatCannotBeOfHere(t *testing.T) {
	fresh := Look{Versions: Versions{}, Newest: noon.Add(time.Hour)}
	for name := range at(1) {
		fresh.Versions[name] = Version{"other", 1}
	}
	l := newLooks()
	l.record.Recall(noon.Add(time.Hour), Known{Good: noon, Versions: at(1)})
	if s := l.settled(time.Hour, fresh); !s.Enforced || !refuses(s, noon.Add(-time.Hour)) {
		t.Errorf("a request from before there were policies counts: %+v", s)
	}
	l = newLooks()
	l.record.Recall(noon, Known{Good: noon.Add(time.Hour), Versions: at(1)})
	if s := l.at(second, missing); !refuses(s, noon.Add(-time.Minute)) || !refuses(s, noon.Add(10*second)) {
		t.Errorf("a policy is missing, and requests count: %+v", s)
	}
}

func TestNobodyLooksWhileTheNoteCannotBeRead(t *testing.T) {
	l := newLooks()
	l.record.RecalledLate()
	if s := l.settled(time.Minute, good); !s.Enforced || !refuses(s, noon) {
		t.Errorf("%+v", s)
	}
}

// An operator of another version reads it.
func TestTheNoteKeepsItsForm(t *testing.T) {
	const text = `{"good":"2026-12-01T12:00:00Z","versions":{"x":{"uid":"u","generation":2}},` +
		`"gaps":[{"until":"2026-12-01T11:00:05Z","cause":"c"},{"from":"2026-12-01T12:00:00Z","cause":"d","doubtful":true}]}`
	known := Known{Good: noon, Versions: Versions{"x": {"u", 2}}, Gaps: []Gap{
		{Until: long.Add(SettleAfter), Cause: "c"}, {From: noon, Cause: "d", Doubtful: true},
	}}
	if got, err := json.Marshal(known); err != nil || string(got) != text {
		t.Errorf("%s (%v), want %s", got, err, text)
	}
}

func TestManyGapsFitIntoOneObject(t *testing.T) {
	l := newLooks()
	bad := missing
	bad.Problem = strings.Repeat("a is missing; ", 1000)
	for i := range 2 * maxGaps {
		l.at(time.Duration(2*i)*time.Minute, bad)
		l.settled(time.Duration(2*i)*time.Minute+second, good)
	}
	text, err := json.Marshal(l.lease)
	if most := 128 << 10; err != nil || len(text) > most || len(l.lease.Gaps) != maxGaps {
		t.Errorf("%d gaps take %d bytes (%v), want %d at the most", len(l.lease.Gaps), len(text), err, most)
	}
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
