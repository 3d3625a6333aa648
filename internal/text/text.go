// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package text writes values as people and programs read them. It knows nothing of Lapse.
package text

import (
	"time"
	"unicode/utf8"
)

// Time is RFC 3339 in UTC and whole seconds, such as 2026-12-01T18:00:00Z.
func Time(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Cut shortens s to at most n bytes, three or more, without splitting a character.
func Cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	const ellipsis = "…"
	end := n - len(ellipsis)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + ellipsis
}
