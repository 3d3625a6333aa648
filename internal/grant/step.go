// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/admission"
	"github.com/lapse-dev/lapse/internal/policy"
)

// Action is what a Step does to the cluster before status is written.
type Action string

const (
	// Nothing is done to the cluster.
	Nothing Action = "Nothing"
	// Create the binding of the step.
	Create Action = "Create"
	// Delete the binding that was seen.
	Delete Action = "Delete"
	// Empty the binding that was seen: nobody holds the role any more, and the
	// binding stays until status has recorded it.
	Empty Action = "Empty"
	// Forget deletes the request, whose time as a record is over.
	Forget Action = "Forget"
)

// Step is one step of a request: an act, then what status says of it.
type Step struct {
	// Action comes first.
	Action Action
	// Binding is the one to create; set for Create alone.
	Binding *rbacv1.RoleBinding
	// Outcome is what status says once the act succeeded; nil leaves status alone.
	Outcome *Outcome
	// Role is what status says of the role of a grant that goes on: that it changed, or
	// with an empty Reason that it did not; nil leaves that as it is.
	Role *policy.RoleChange
	// After is when to look again if nothing happens before; zero is never.
	After time.Time
}

// Ends says whether the step takes access away. Such a step waits for nothing.
func (s Step) Ends() bool { return s.Action == Delete || s.Action == Empty }

// Withdraws says whether the step takes access away because of a policy alone.
func (s Step) Withdraws() bool {
	return s.Ends() && s.Outcome != nil && s.Outcome.Reason == v1alpha1.ReasonPolicyWithdrawn
}

// Rejects says whether the step refuses a request or takes access away because of a
// policy. Either is for good.
func (s Step) Rejects() bool {
	return s.Withdraws() || s.Outcome != nil && s.Outcome.State == v1alpha1.StateDenied
}

// Outcome is what becomes of a request, in the words of its status.
type Outcome struct {
	State   v1alpha1.RequestState
	Reason  string
	Message string
	// Policy that allowed the request or has to be satisfied; nil if there is none.
	Policy *v1alpha1.PolicyReference
	// Grant that was given; nil if none was.
	Grant *v1alpha1.Grant
	// Approvals that counted.
	Approvals []v1alpha1.Approval
}

// Observed is what Next has to know of the cluster.
type Observed struct {
	// Binding with the name of the request's; nil when there is none.
	Binding *rbacv1.RoleBinding
	// Lost is the grant of a binding of the request that was there and is not any more;
	// nil if none is known. It matters when status does not know of it.
	Lost *v1alpha1.Grant
	// Decisions on the request; others are ignored.
	Decisions []v1alpha1.AccessDecision
	// Waiting is how many other requests of the same requester wait, as far as is known. It
	// matters for one that is looked at for the first time.
	Waiting int
	// Skew is how far the operator's clock is ahead of the API server's; negative
	// when it is behind.
	Skew time.Duration
	// Admission is what is known of the admission policies.
	Admission admission.State
}

// Judge answers what depends on policies. It is asked only when nothing else
// speaks for an end, so that nothing about policies can delay one.
type Judge struct {
	// Decide judges the request afresh.
	Decide func() (policy.Decision, error)
	// Objections are those of the policy that allowed the grant, as it is now and
	// judged as of the time of the grant. A policy that is gone objects.
	Objections func(v1alpha1.Grant) ([]string, error)
	// MayEnd says whether somebody who neither asked for the access nor gets it may
	// deny or revoke it under the policy of that name.
	MayEnd func(policy string, who *v1alpha1.Identity) (bool, error)
	// RoleChange is how the role of a grant differs from what was granted. With an error
	// it may differ.
	RoleChange func(v1alpha1.Grant) (policy.RoleChange, error)
}

// Settings are those of the operator.
type Settings struct {
	// MaxDuration is the ceiling over every policy.
	MaxDuration time.Duration
	// Retention is how long a request stays as a record after its end; zero keeps
	// it for ever.
	Retention time.Duration
}
