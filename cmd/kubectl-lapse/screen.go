// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/lapse-dev/lapse/internal/text"
)

// screen is a part of a terminal that is drawn over and over. Where there is no
// terminal nothing is drawn over: each change is a line of its own.
type screen struct {
	w     io.Writer
	size  func() (width, height int) // nil without a terminal
	drawn int                        // lines that stand on the terminal
}

func newScreen(w io.Writer) *screen {
	s := &screen{w: w}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		s.size = func() (int, int) {
			width, height, err := term.GetSize(int(f.Fd()))
			if err != nil || width <= 0 || height <= 0 {
				return 80, 24
			}
			return width, height
		}
	}
	return s
}

// live says whether there is a terminal to draw on.
func (s *screen) live() bool { return s.size != nil }

// width is that of the terminal, and 0 without one: then lines may have any.
func (s *screen) width() int {
	if !s.live() {
		return 0
	}
	width, _ := s.size()
	return width
}

// draw puts lines in the place of those that were drawn before. What does not fit is
// left out: a line that wraps could not be drawn over.
func (s *screen) draw(lines []string) {
	width, height := s.size()
	if room := max(height-1, 1); len(lines) > room {
		more := len(lines) - room + 1
		lines = append(lines[:room-1:room-1], fmt.Sprintf("… and %d more", more))
	}
	var b strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\r\x1b[%dA", s.drawn)
	}
	for _, line := range lines {
		b.WriteString(fit(text.Printable(line, ""), width-1) + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	s.drawn = len(lines)
	_, _ = io.WriteString(s.w, b.String()) // a terminal that is gone ends the program by a signal
}

// clear takes away what was drawn, for something final to be said.
func (s *screen) clear() {
	if s.drawn > 0 {
		s.draw(nil)
	}
}

// leave lets what was drawn stand, since somebody else may have written below it.
func (s *screen) leave() { s.drawn = 0 }

// fit cuts a line to a number of columns. Every character counts as one but those that
// East Asian scripts draw wide, which count as two.
func fit(line string, width int) string {
	used := 0
	for i, r := range line {
		used += columnsOf(r)
		if used > width {
			return strings.TrimRight(cutBack(line[:i]), " "+joiners) + "…"
		}
	}
	return line
}

// wrap breaks a line into pieces of at most so many columns, between words where it can. A
// width of less than ten does not break it.
func wrap(line string, width int) []string {
	if width < 10 {
		return []string{line}
	}
	var pieces []string
	for {
		used, space, end := 0, -1, len(line)
		for i, r := range line {
			if r == ' ' && i > 0 {
				space = i
			}
			if used += columnsOf(r); used > width {
				end = i
				break
			}
		}
		if end == len(line) {
			return append(pieces, line)
		}
		if space > 0 {
			end = space
		}
		pieces, line = append(pieces, strings.TrimRight(line[:end], joiners)), strings.TrimLeft(line[end:], " "+joiners+emojiForm)
	}
}

const (
	// joiners stand between two characters, and mean nothing where a line is cut between them.
	joiners = "\u200c\u200d"
	// emojiForm stands behind one.
	emojiForm = "\ufe0f"
)

// cutBack makes room for the mark.
func cutBack(s string) string {
	_, size := utf8.DecodeLastRuneInString(s)
	return s[:len(s)-size]
}

// columnsOf is roughly what East Asian Width (Unicode, annex 11) says. Too much does
// no harm: the line is cut earlier.
func columnsOf(r rune) int {
	if r >= 0x1100 {
		return 2
	}
	return 1
}
