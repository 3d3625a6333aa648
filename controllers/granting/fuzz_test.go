// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/grant"
	"github.com/lapse-dev/lapse/internal/text"
)

// FuzzStatusMessage: whatever there is to say, a condition holds at most what it is cut
// to, whole characters, and what fits is not touched.
func FuzzStatusMessage(f *testing.F) {
	f.Add("allowed by policy oncall", maxMessage)
	f.Add(strings.Repeat("ä", maxMessage), maxMessage)
	f.Add(strings.Repeat("🙂", 30), 10)
	f.Add("…", 3)
	f.Add("\x80\x80\x80\x80\x80\x80", 4)
	f.Add("long", 0)
	f.Fuzz(func(t *testing.T, message string, n int) {
		n = max(n, 3) % (2 * maxMessage)
		n = max(n, 3) // the ellipsis
		got := text.Cut(message, n)
		switch {
		case len(message) <= n && got != message:
			t.Errorf("Cut(%q, %d) = %q", message, n, got)
		case len(got) > n, utf8.ValidString(message) && !utf8.ValidString(got):
			t.Errorf("Cut(%q, %d) = %q, of %d bytes", message, n, got, len(got))
		case len(message) > n && !strings.HasPrefix(message, strings.TrimSuffix(got, "…")):
			t.Errorf("Cut(%q, %d) = %q, which is not its beginning", message, n, got)
		}
		req := &v1alpha1.AccessRequest{}
		setStatus(time.Unix(0, 0), req, &grant.Outcome{State: v1alpha1.StateDenied, Reason: v1alpha1.ReasonDenied, Message: message})
		for _, c := range req.Status.Conditions {
			if len(c.Message) > maxMessage || utf8.ValidString(message) && !utf8.ValidString(c.Message) {
				t.Errorf("%s: a message of %d bytes", c.Type, len(c.Message))
			}
		}
	})
}
