// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package text reads and writes values as people and programs do. It knows nothing of Lapse.
package text

import (
	"strings"
	"time"
	"unicode"
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

// Line is somebody else's text on one line, with a mark for what cannot be printed. What is
// left are letters, marks, numbers, punctuation, symbols and the plain space: no control, no
// escape, no bidirectional override, nothing that moves a cursor, hides or reorders text.
func Line(s string) string {
	return Printable(strings.Join(strings.Fields(s), " "), "")
}

// Printable is s with a mark for what cannot be printed, other than the runes of also, such
// as "\n\t".
func Printable(s, also string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) || strings.ContainsRune(also, r) {
			return r
		}
		return utf8.RuneError
	}, s)
}
