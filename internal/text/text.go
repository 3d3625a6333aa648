// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package text writes values as people and programs read them. It knows nothing of Lapse.
package text

import "time"

// Time is RFC 3339 in UTC and whole seconds, such as 2026-12-01T18:00:00Z.
func Time(t time.Time) string { return t.UTC().Format(time.RFC3339) }
