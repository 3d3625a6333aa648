// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
)

const (
	// refusedRetention is how long a request that can be forgotten stays as a record, or
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
	case req.GetDeletionTimestamp() != nil || set.Retention <= 0:
		return Step{Action: Nothing}
	case letGo(req, seen.Decisions):
		return Step{Action: Forget} // nobody may delete requests who only may create them
	case tracked(req):
		return Step{Action: Nothing} // the tool would make it anew
	}
	if forget := forgottenAt(req, set); now.Before(forget) {
		return Step{Action: Nothing, After: forget}
	}
	return Step{Action: Forget}
}

// letGo says whether a request by which nobody held anything need not stay: it was refused, and
// requester or grantee gave it back; or it was taken back, and who asked gives it back once
// more. By one word it would be gone before anybody sees that it was taken back, and its grantee
// could let go what somebody else asks for again.
func letGo(req v1alpha1.Request, decisions []v1alpha1.AccessDecision) bool {
	back, asker := returned(req, decisions), req.RequestSpec().Requester
	if back == nil || asker == nil || !Forgettable(req) {
		return false
	}
	switch req.RequestStatus().State { //nolint:exhaustive // by the others somebody held something, or they are not over
	case v1alpha1.StateDenied:
		return true
	case v1alpha1.StateReturned: // a tool would make it anew, and it might be granted
		return !tracked(req) && slices.ContainsFunc(noes(req, decisions), func(d *v1alpha1.AccessDecision) bool {
			return d != back && d.Spec.Reviewer.Username == asker.Username
		})
	default:
		return false
	}
}

// forgottenAt is until when a request that is over stays.
func forgottenAt(req v1alpha1.Request, set Settings) time.Time {
	if Forgettable(req) {
		return endOf(req).Add(min(set.Retention, refusedRetention))
	}
	forget := endOf(req).Add(set.Retention)
	if end := req.RequestSpec().NotAfter; end != nil && end.After(forget) {
		return end.Time // until then its manifest could give access again
	}
	return forget
}

// NeverHeld says whether a request is over by which nobody ever held anything.
func NeverHeld(req v1alpha1.Request) bool {
	return req.RequestStatus().State.Final() && req.RequestStatus().Grant == nil
}

// deniedBy is how the message of a request begins that a person denied, and no other.
const deniedBy = "denied by "

// Forgettable says whether a request is over that never held anything, and that no person
// denied. What a person denied stays: made again under its name, it would be judged again.
func Forgettable(req v1alpha1.Request) bool {
	ready := meta.FindStatusCondition(req.RequestStatus().Conditions, v1alpha1.ConditionReady)
	return NeverHeld(req) && ready != nil && !strings.HasPrefix(ready.Message, deniedBy)
}

// Surplus are the oldest requests beyond MaxRefused, out of all of one requester that can
// be forgotten. The label of a GitOps tool protects none: anybody can set one.
func Surplus(all []*v1alpha1.AccessRequest) []*v1alpha1.AccessRequest {
	if len(all) <= MaxRefused {
		return nil
	}
	byEnd := slices.SortedFunc(slices.Values(all), func(a, b *v1alpha1.AccessRequest) int {
		return cmp.Or(endOf(a).Compare(endOf(b)), cmp.Compare(a.UID, b.UID))
	})
	return byEnd[:len(byEnd)-MaxRefused]
}
