// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package message

import "slices"

// Event is what somebody may want to be told of.
type Event string

// Of what people are told. The first ten are of requests.
const (
	// Asked: a request waits for approval.
	Asked Event = "asked"
	// StillWaiting: half of the time for approvals is gone, and some are missing.
	StillWaiting Event = "stillWaiting"
	// Decided: somebody approved, denied or revoked, and it counts.
	Decided Event = "decided"
	// Granted: access began.
	Granted Event = "granted"
	// EndingSoon: access ends in some minutes.
	EndingSoon Event = "endingSoon"
	// EndedEarly: access ended before its deadline.
	EndedEarly Event = "endedEarly"
	// Refused: a request is over, and gave nothing.
	Refused Event = "refused"
	// Tampered: somebody changed the binding of a grant, and it was removed.
	Tampered Event = "tampered"
	// GuardBroken: the admission policies are not known to be in force, or are again.
	GuardBroken Event = "guardBroken"
	// RecordsBehind: a sink takes no records, or does again.
	RecordsBehind Event = "recordsBehind"
	// Test: somebody tries whether messages arrive. It is sent to whom he names, and to nobody else.
	Test Event = "test"
)

// Events are all that a receiver may want.
func Events() []Event {
	return []Event{Asked, StillWaiting, Decided, Granted, EndingSoon, EndedEarly, Refused, Tampered, GuardBroken, RecordsBehind}
}

// OfCluster says whether the event is of no request.
func (e Event) OfCluster() bool { return e == GuardBroken || e == RecordsBehind }

// Alertable are the events that last, so that there can be an alert that goes on.
func Alertable() []Event { return []Event{StillWaiting, Granted} }

// timed says whether the event is due at a moment, and nothing changes then.
func (e Event) timed() bool { return slices.Contains([]Event{StillWaiting, EndingSoon}, e) }
