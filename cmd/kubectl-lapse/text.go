// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/text"
)

// cell is what a table shows of a value.
func cell(s string) string {
	if s = text.Line(s); s == "" {
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
	return text.Time(t.Time) + " (" + until(now, t.Time) + ")"
}
