// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"k8s.io/apimachinery/pkg/watch"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

func TestWhatTheWatchWouldNeverTakeOutIsNotPutIn(t *testing.T) {
	l := newLive()
	seen := builders.Request("seen").In("payments").Build()
	other := builders.Request("other").In("elsewhere").Build()
	seen.UID, other.UID = "seen", "other"
	l.see(change{kind: watch.Added, req: seen})
	for _, req := range []*v1alpha1.AccessRequest{seen, other} {
		after := req.DeepCopy()
		after.Status.State = v1alpha1.StateActive
		l.correct(change{kind: watch.Modified, req: after})
	}
	if len(l.known) != 1 || l.known["seen"].Status.State != v1alpha1.StateActive {
		t.Errorf("known are %v", l.known)
	}
}
