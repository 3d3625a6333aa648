// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// State is what is known of the admission policies, on which all rests that a
// request or decision says of who made it. The zero value is: nothing, so nothing is
// granted.
type State struct {
	// Enforced says that they are in force.
	Enforced bool
	// Problem is why they are not, in words; empty as long as nobody
	// has looked.
	Problem string
	// Remedy is what to do about it.
	Remedy string
	// Gaps are the times in which they were not in force, as far as is known.
	Gaps []Gap
}

// Gap is a time in which anybody may have written anything.
type Gap struct {
	// From is within the gap, Until not any more. Zero is without bound.
	From  time.Time `json:"from,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// Cause is what was found, in words.
	Cause string `json:"cause"`
	// Doubtful says that there may have been none: the policies may be changed to those of
	// another version. It goes on, and what was made in it waits until that is certain.
	Doubtful bool `json:"doubtful,omitempty"`
}

// PutBack are the commands by which a cluster admin puts the admission policies back. The
// first one leaves what somebody added to them, the second makes none that is missing.
const PutBack = "kubectl apply -k config/admission; kubectl replace --save-config -k config/admission"

// PutStampsBack are the same for the stamps. A server below Kubernetes 1.36 refuses them.
const PutStampsBack = "kubectl apply -k config/admission/stamps; kubectl replace --save-config -k config/admission/stamps"

// NoteRemedy is what to do when what is known of the policies cannot be noted.
const NoteRemedy = "let ServiceAccount lapse-manager get and update Lease lapse-admission in its namespace, and create Leases there (config/rbac)"

// ClockError is how far the time here may be ahead of the API server's without being
// noticed.
const ClockError = 2 * time.Second

// Covers says whether an object of that creation time may have been made in the gap.
// Objects know the second in which they were made.
func (g Gap) Covers(created metav1.Time) bool {
	return (g.From.IsZero() || !created.Time.Before(g.From.Add(-ClockError).Truncate(time.Second))) && (g.Until.IsZero() || created.Time.Before(g.Until))
}

// InDoubt says whether an object of that creation time was made in a gap that may be none.
func (s State) InDoubt(created metav1.Time) bool {
	gap := s.Gap(created)
	return gap != nil && gap.Doubtful
}

// Gap is the one in which an object may have been made; nil if there is none.
func (s State) Gap(created metav1.Time) *Gap {
	for i := range s.Gaps {
		if s.Gaps[i].Covers(created) {
			return &s.Gaps[i]
		}
	}
	return nil
}
