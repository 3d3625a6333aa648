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
)

// FuzzStatusMessage: whatever there is to say, a condition holds at most what the schema
// takes, in whole characters.
func FuzzStatusMessage(f *testing.F) {
	f.Add("allowed by policy oncall")
	f.Add(strings.Repeat("ä", maxMessage))
	f.Add("\x80\x80\x80\x80\x80\x80")
	f.Fuzz(func(t *testing.T, message string) {
		req := &v1alpha1.AccessRequest{}
		setStatus(time.Unix(0, 0), req, &grant.Outcome{State: v1alpha1.StateDenied, Reason: v1alpha1.ReasonDenied, Message: message})
		for _, c := range req.Status.Conditions {
			if len(c.Message) > maxMessage || utf8.ValidString(message) && !utf8.ValidString(c.Message) {
				t.Errorf("%s: a message of %d bytes", c.Type, len(c.Message))
			}
		}
	})
}
