// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package hostile has what somebody may write in order to forge, hide or run something. Whatever
// prints what people wrote is tested with it.
package hostile

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"testing"
)

//go:embed testdata/strings.txt
var written string

// longest string, in bytes: more than any field of ours may have.
const longest = 8 << 10

// Strings are those of the file, each control character there is, and long ones.
func Strings(t testing.TB) []string {
	t.Helper()
	all := inFile(t)
	for _, controls := range [][2]rune{{0x00, 0x1f}, {0x7f, 0x9f}, {0x200b, 0x200f}, {0x2028, 0x202e}, {0x2060, 0x206f}, {0xfff9, 0xfffb}} {
		for r := controls[0]; r <= controls[1]; r++ {
			all = append(all, fmt.Sprintf("a%[1]cb%[1]c", r))
		}
	}
	for _, part := range []string{"x", "y ", "<b>", `"`, "\u202e", "א", "日", "\x1b[2J", "a\u0300\u0301\u0302", "👨\u200d", "❤\ufe0f"} {
		all = append(all, strings.Repeat(part, longest/len(part)))
	}
	return all
}

func inFile(t testing.TB) (all []string) {
	t.Helper()
	for line := range strings.Lines(written) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		s, err := strconv.Unquote(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, s)
	}
	return all
}
