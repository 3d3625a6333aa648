// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package servertime

import (
	"testing"
	"time"
)

func TestSkewIsNotForgottenForAnAnswerThatTookLong(t *testing.T) {
	noon := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	c := &Clock{}
	// answer was asked for when the clock here was ahead, took some time, and had the
	// Date of its end.
	answer := func(server time.Time, ahead, took time.Duration) {
		c.Observe(server.Add(ahead-took), server.Add(ahead), server.Truncate(time.Second))
	}
	near := func(want time.Duration) {
		t.Helper()
		if got := c.Ahead(); (got - want).Abs() > 1100*time.Millisecond {
			t.Errorf("ahead by %s, want %s", got, want)
		}
	}
	near(0)
	for _, ahead := range []time.Duration{25 * time.Second, -25 * time.Second} {
		answer(noon, ahead, 10*time.Millisecond)
		near(ahead)
		answer(noon.Add(40*time.Second), ahead, 30*time.Second)
		near(ahead)
	}
	answer(noon.Add(time.Minute), 0, 10*time.Millisecond) // it was set
	near(0)
}
