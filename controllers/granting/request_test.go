// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"errors"
	"testing"
	"time"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/grant"
	"github.com/lapse-dev/lapse/test/builders"
)

func TestWhenARequestIsLookedAtAgain(t *testing.T) {
	now, failed := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC), &grant.Outcome{State: v1alpha1.StateFailed}
	webhook := errors.New("webhook")
	for name, tc := range map[string]struct {
		after   time.Time
		outcome *grant.Outcome
		err     error
		want    time.Duration
	}{
		"when the step says":               {now.Add(time.Hour), nil, nil, time.Hour},
		"at once, if that is past":         {now.Add(-time.Hour), nil, nil, time.Millisecond},
		"never, if it says nothing":        {time.Time{}, nil, nil, 0},
		"a minute later, if it failed":     {time.Time{}, failed, nil, time.Minute},
		"that minute, whatever it says":    {now.Add(time.Hour), failed, nil, time.Minute},
		"by the queue's pace, on an error": {now.Add(time.Hour), failed, webhook, 0},
	} {
		got, err := again(now, builders.Request("debug").Build(), tc.after, tc.outcome, tc.err)
		if got.RequeueAfter != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("%s: after %s, %v; want %s", name, got.RequeueAfter, err, tc.want)
		}
	}
}
