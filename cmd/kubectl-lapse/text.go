// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// printable maps what could move the cursor, hide or reorder text to a mark. What
// unicode.IsPrint lets through are letters, marks, numbers, punctuation, symbols and
// the plain space: no control, no escape, no bidirectional override.
func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return utf8.RuneError
}

// safe is somebody else's text on one line, with a mark for what cannot be printed.
func safe(s string) string {
	return strings.Map(printable, strings.Join(strings.Fields(s), " "))
}

// safeLines is safe, but for line breaks and tabs.
func safeLines(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		return printable(r)
	}, s)
}

// cell is what a table shows of a value.
func cell(s string) string {
	if s = safe(s); s == "" {
		return "-"
	}
	return s
}

// subjectText is a subject as --as-subject takes it; a user stands for himself.
func subjectText(s *v1alpha1.Subject) string {
	switch {
	case s == nil:
		return ""
	case s.Kind == v1alpha1.GroupKind:
		return "group:" + s.Name
	case s.Kind == v1alpha1.ServiceAccountKind:
		return "sa:" + s.Namespace + "/" + s.Name
	default:
		return s.Name
	}
}

// grantee is who gets the access of a request.
func grantee(req *v1alpha1.AccessRequest) string {
	if s := req.Spec.Subject; s != nil {
		return subjectText(s)
	}
	if r := req.Spec.Requester; r != nil {
		return r.Username
	}
	return ""
}

// roleText is a role as request takes it; a ClusterRole stands for itself.
func roleText(r v1alpha1.RoleRef) string {
	if r.Kind == v1alpha1.RoleKind {
		return "role/" + r.Name
	}
	return r.Name
}

// durationText is the shortest form that a manifest accepts: 1h30m, not 1h30m0s.
func durationText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// until is the way to a moment: "in 42m", or "3m ago".
func until(now, t time.Time) string {
	if t.Before(now) {
		return duration.HumanDuration(now.Sub(t)) + " ago"
	}
	// A second that has begun counts, so that nothing ends "in 0s" while it lasts.
	left := t.Sub(now)
	if begun := left % time.Second; begun > 0 {
		left += time.Second - begun
	}
	return "in " + duration.HumanDuration(left)
}

// at is a moment and the way to it.
func at(now time.Time, t metav1.Time) string {
	return timeText(t.Time) + " (" + until(now, t.Time) + ")"
}
