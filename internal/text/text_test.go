// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package text

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

func TestDurationIsTheShortestForm(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0s": 0, "30s": 30 * time.Second, "10m": 10 * time.Minute, "1h": time.Hour, "1h30m": 90 * time.Minute,
		"1h0m10s": time.Hour + 10*time.Second, "24h": 24 * time.Hour, "1m0.5s": time.Minute + 500*time.Millisecond,
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%s) = %s, want %s", d, got, want)
		}
		if back, err := time.ParseDuration(Duration(d)); err != nil || back != d {
			t.Errorf("Duration(%s) means %s, %v", d, back, err)
		}
	}
}

func TestTimeIsInUTC(t *testing.T) {
	at := time.Date(2026, 12, 1, 19, 0, 0, 0, time.FixedZone("", 3600))
	if got := Time(at); got != "2026-12-01T18:00:00Z" {
		t.Errorf("Time = %s", got)
	}
	if back, err := ParseTime(Time(at)); err != nil || !back.Equal(at) {
		t.Errorf("ParseTime = %s, %v", back, err)
	}
}

// FuzzCut: what is cut has at most so many bytes, whole characters and the same beginning,
// and what fits is not touched.
func FuzzCut(f *testing.F) {
	f.Add("allowed by policy oncall", 64)
	f.Add(strings.Repeat("ä", 64), 64)
	f.Add(strings.Repeat("🙂", 30), 10)
	f.Add("…", 3)
	f.Add("\x80\x80\x80\x80\x80\x80", 4)
	f.Add("long", 0)
	f.Fuzz(func(t *testing.T, s string, n int) {
		n = 3 + max(n, 0)%8192
		got := Cut(s, n)
		switch {
		case len(s) <= n && got != s:
			t.Errorf("Cut(%q, %d) = %q", s, n, got)
		case len(got) > n, utf8.ValidString(s) && !utf8.ValidString(got):
			t.Errorf("Cut(%q, %d) = %q, of %d bytes", s, n, got, len(got))
		case len(s) > n && !strings.HasPrefix(s, strings.TrimSuffix(got, "…")):
			t.Errorf("Cut(%q, %d) = %q, which is not its beginning", s, n, got)
		}
	})
}

func TestWhatCannotBeSeenIsMarkedAndWhatPeopleWriteIsNot(t *testing.T) {
	for _, s := range []string{
		"INC-1: checkout", "检查 完成", "دفع مشکل می\u200cخواهم", "ශ්\u200dරී", "fix 👨\u200d💻", "❤\ufe0f 1\ufe0f\u20e3",
		"🇩🇪 ✔\ufe0f", "“quotes” – dash…",
	} {
		if got := Line(s); got != s {
			t.Errorf("Line(%+q) = %+q", s, got)
		}
	}
	for what, s := range map[string]string{
		"a filler of Hangul": "\u3164", "another one": "\u115f", "a narrow one": "\uffa0", "Braille without dots": "\u2800",
		"a blank of Egyptian": "\U00013441", "another of Egyptian": "\U00013442",
		"a filler of Khitan": "\U00016fe4", "a note without a head": "\U0001d159",
		"a joiner of nothing": "\u200d", "a joiner after a space": "a \u200db", "a joiner at the end": "a\u200c", "a grapheme joiner": "a\u034f",
		"a form of nothing": "\ufe0f", "a form of a letter": "a\ufe0f", "another variation": "a\ufe01", "a rare variation": "a\U000e0100",
		"a soft hyphen": "a\u00ad", "a bidi override": "\u202e", "an isolate": "\u2066", "a zero-width space": "a\u200bb",
		"a byte order mark": "\ufeff", "a tag": "\U000e0041",
	} {
		if got := Line(s); !strings.ContainsRune(got, utf8.RuneError) {
			t.Errorf("%s: Line(%+q) = %+q", what, s, got)
		}
	}
}

func TestUnseenNamesTheFirstCharacterAndItsPlace(t *testing.T) {
	for s, want := range map[string]struct {
		r     rune
		place int
	}{
		"": {}, "INC-1: checkout": {}, "日本\u3000語\u00a0x": {}, "ends\n": {}, "👨\u200d💻 ❤\ufe0f": {},
		"\u202eexe":     {'\u202e', 1},
		"日本\u200bx\x1b": {'\u200b', 3},
		"two\nlines":    {'\n', 4},
		"ends\n\n":      {'\n', 5},
		"tab\t":         {'\t', 4},
		"a \u200d":      {'\u200d', 3},
		"a\ufe0f":       {'\ufe0f', 2},
		"\u3164":        {'\u3164', 1},
	} {
		if r, place := Unseen(s); r != want.r || place != want.place {
			t.Errorf("Unseen(%+q) = %U at %d, want %U at %d", s, r, place, want.r, want.place)
		}
	}
}

// FuzzClean: what is left has nothing unseen, and is not touched again.
func FuzzClean(f *testing.F) {
	f.Add("two\nlines\x1b[2J \u202ereversed")
	f.Add(" \ufe0f\u200db")
	f.Add("❤\u200b\ufe0f\u200d")
	f.Fuzz(func(t *testing.T, s string) {
		s = s[:min(len(s), 1024)]
		got, left := Clean(s)
		if r, place := Unseen(got); place != 0 {
			t.Errorf("Clean(%+q) = %+q, which has %U at %d", s, got, r, place)
		}
		if _, place := Unseen(s); (place == 0) != (len(left) == 0) {
			t.Errorf("Clean(%+q) left out %q", s, left)
		}
		if again, more := Clean(got); again != got || len(more) > 0 {
			t.Errorf("Clean(%+q) = %+q", got, again)
		}
	})
}

func TestCleanKeepsWordsApart(t *testing.T) {
	got, left := Clean("the\tincident\nis \u202eover\x1b\n")
	if got != "the incident is over" || string(left) != "\t\n\u202e\x1b" {
		t.Errorf("got %q without %+q", got, string(left))
	}
}

// FuzzJSON: a terminal shows it as it is, and it means the same.
func FuzzJSON(f *testing.F) {
	f.Add("\x1b]0;title\x07\u202e\u200b\xff\r\n", "\t")
	f.Add("\u3164\u2800\u009b2J\U000e0041", "\n")
	f.Fuzz(func(t *testing.T, s, indent string) {
		want, err := json.MarshalIndent(map[string]string{s: s}, "", strings.Repeat("\t", len(indent)%3))
		if err != nil {
			t.Fatal(err)
		}
		got := JSON(string(want))
		var before, after any
		err = errors.Join(json.Unmarshal(want, &before), json.Unmarshal([]byte(got), &after))
		if err != nil || !reflect.DeepEqual(before, after) {
			t.Errorf("JSON(%q) = %q, %v", want, got, err)
		}
		if got != Printable(got, "\n\t") {
			t.Errorf("JSON(%q) = %q", want, got)
		}
	})
}

// FuzzLine: a terminal shows somebody else's text as it is.
func FuzzLine(f *testing.F) {
	f.Add("oncall")
	f.Add("\x1b]0;title\x07\u202e\u200b\xff\r\n")
	f.Fuzz(func(t *testing.T, s string) {
		got := Line(s)
		if !utf8.ValidString(got) || Line(got) != got || strings.ContainsFunc(got, unicode.IsControl) {
			t.Errorf("Line(%q) = %q", s, got)
		}
		if kept := Printable(s, "\n"); strings.Count(kept, "\n") != strings.Count(s, "\n") {
			t.Errorf("Printable(%q) = %q", s, kept)
		}
	})
}
