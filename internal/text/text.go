// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package text reads and writes values as people and programs do. It knows nothing of Lapse.
package text

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Time is RFC 3339 in UTC and whole seconds, such as 2026-12-01T18:00:00Z.
func Time(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// ParseTime reads RFC 3339.
func ParseTime(s string) (time.Time, error) { return time.Parse(time.RFC3339, s) }

// Duration is the shortest form that a manifest accepts: 1h30m, not 1h30m0s.
func Duration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Cut shortens s to at most n bytes, three or more, without splitting a character, and
// shows that it did.
func Cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	const ellipsis = "…"
	end := max(n-len(ellipsis), 0)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + ellipsis
}

// Line is somebody else's text on one line, with a mark for what cannot be seen, as Printable
// has it.
func Line(s string) string {
	return Printable(strings.Join(strings.Fields(s), " "), "")
}

// Printable is s with a mark for what cannot be seen, other than the runes of also, such as
// "\n\t". What is left are letters, marks, numbers, punctuation, symbols and the plain
// space, and what joins letters or picks the form of an emoji where there is one: no
// control, no escape, no bidirectional override, and nothing that fills a line with what
// looks like nothing.
func Printable(s, also string) string {
	return instead(s, also, func(rune) string { return string(utf8.RuneError) })
}

// JSON is a text of JSON with an escape for what cannot be seen, other than its line breaks
// and tabs. It means the same: such a character can stand within a string alone.
func JSON(written string) string {
	return instead(written, "\n\t", func(r rune) string {
		var escaped strings.Builder
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&escaped, `\u%04x`, unit)
		}
		return escaped.String()
	})
}

// instead puts something in the place of each rune that cannot be seen, other than those of
// also.
func instead(s, also string, put func(rune) string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return s // as most records and log lines are: to look at each of their runes was a third of what they cost
	}
	var out strings.Builder
	runes := []rune(s)
	at := func(i int) rune {
		if i < 0 || i >= len(runes) {
			return 0
		}
		return runes[i]
	}
	for i, r := range runes {
		if seen(r) || strings.ContainsRune(also, r) || joins(r, at(i-1), at(i+1)) || picksForm(r, at(i-1)) {
			out.WriteRune(r)
		} else {
			out.WriteString(put(r))
		}
	}
	return out.String()
}

// Unseen is the first character for which s is not one line of what can be seen, and its
// place, counted from 1; the place is 0 if there is none. Spaces of any width can be seen, and
// a newline may end the line. The schema of what users write says the same.
func Unseen(s string) (r rune, place int) {
	runes := []rune(s)
	for i, r := range runes {
		var before, after rune
		if i > 0 {
			before = runes[i-1]
		}
		last := i == len(runes)-1
		if !last {
			after = runes[i+1]
		}
		if !seen(r) && !unicode.Is(unicode.Zs, r) && !joins(r, before, after) && !picksForm(r, before) && (r != '\n' || !last) {
			return r, i + 1
		}
	}
	return 0, 0
}

// Clean is s without the characters that Unseen has something against, and those. A space
// takes the place of one that breaks lines.
func Clean(s string) (cleaned string, left []rune) {
	for {
		r, place := Unseen(s)
		if place == 0 {
			return strings.TrimSpace(s), left
		}
		runes, instead := []rune(s), ""
		if unicode.IsSpace(r) {
			instead = " "
		}
		s, left = string(runes[:place-1])+instead+string(runes[place:]), append(left, r)
	}
}

// blanks are letters and symbols that look like a space: Braille without dots, two of Egyptian,
// a filler of Khitan, and a note without a head.
const blanks = "\u2800\U00013441\U00013442\U00016fe4\U0001d159"

// seen says whether there is something to see of a rune. Some letters and marks are
// default-ignorable in Unicode, as the fillers of Hangul are.
func seen(r rune) bool {
	return unicode.IsPrint(r) && !strings.ContainsRune(blanks, r) && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// joins says whether a rune is a joiner or non-joiner between two that can be joined: many
// scripts are written with them, and emoji are made of several.
func joins(r, before, after rune) bool {
	joined := func(r rune) bool { return r == emojiForm || seen(r) && unicode.In(r, unicode.L, unicode.M, unicode.S) }
	return (r == '\u200c' || r == '\u200d') && joined(before) && joined(after)
}

// emojiForm has a sign shown as an emoji.
const emojiForm = '\ufe0f'

func picksForm(r, before rune) bool {
	return r == emojiForm && seen(before) && unicode.In(before, unicode.S, unicode.N, unicode.P)
}
