// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"slices"
	"time"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
)

const (
	// refusedRetention is how long a request that never held anything stays as a record, or
	// for Retention, if that is shorter.
	refusedRetention = 24 * time.Hour
	// MaxRefused is how many of those of one requester stay.
	MaxRefused = 100
)

// final keeps a request that is over as a record, and nothing else of it.
func final(now time.Time, req v1alpha1.Request, seen Observed, set Settings) Step {
	if b := seen.Binding; b != nil && binding.OwnedBy(b, req.GetUID()) {
		return Step{Action: Delete}
	}
	switch {
	case req.GetDeletionTimestamp() != nil:
		return Step{Action: Nothing}
	case req.RequestStatus().State == v1alpha1.StateDenied && NeverHeld(req) && returned(req, seen.Decisions) != nil:
		return Step{Action: Forget} // nobody may delete requests who only may create them
	case set.Retention <= 0 || tracked(req):
		return Step{Action: Nothing}
	}
	stays := set.Retention
	if NeverHeld(req) {
		stays = min(stays, refusedRetention)
	}
	forget := endOf(req).Add(stays)
	if now.Before(forget) {
		return Step{Action: Nothing, After: forget}
	}
	return Step{Action: Forget}
}

// NeverHeld says whether a request is over by which nobody ever held anything.
func NeverHeld(req v1alpha1.Request) bool {
	return req.RequestStatus().State.Final() && req.RequestStatus().Grant == nil
}

// Surplus are the oldest requests beyond MaxRefused, out of all of one requester that never
// held anything. The label of a GitOps tool protects none: anybody can set one.
func Surplus(all []*v1alpha1.AccessRequest) []*v1alpha1.AccessRequest {
	if len(all) <= MaxRefused {
		return nil
	}
	byEnd := slices.SortedFunc(slices.Values(all), func(a, b *v1alpha1.AccessRequest) int { return endOf(a).Compare(endOf(b)) })
	return byEnd[:len(byEnd)-MaxRefused]
}
