// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/text"
)

// running is a grant that status knows of.
type running struct {
	now   time.Time
	req   v1alpha1.Request
	grant v1alpha1.Grant
	judge Judge
	seen  Observed
	set   Settings
	// role is how the role changed; nil if that could not be told.
	role *policy.RoleChange
}

// recorded looks after a grant that status knows of. Its order is its meaning: what must
// never wait is asked first, and the first question with an outcome ends the grant. A
// question that cannot be answered keeps no later one from being asked, but somebody is
// blamed only when all were answered.
func recorded(now time.Time, req v1alpha1.Request, g v1alpha1.Grant, judge Judge, seen Observed, set Settings) (Step, error) {
	r := &running{now: now, req: req, grant: g, judge: judge, seen: seen, set: set}
	var errs []error
	for _, ask := range []func() (*Outcome, error){
		r.over,      // is its time over, or was its binding changed?
		r.givenBack, // by requester or grantee?
		r.withdrawn, // by its policy?
		r.stopped,   // by somebody who may?
		r.deleted,   // is it held though somebody deletes its binding?
		r.roleGrown, // does its role allow more, and the policy says Revoke?
	} {
		outcome, err := ask()
		if outcome != nil {
			return Step{Action: Delete, Outcome: outcome}, nil
		}
		errs = append(errs, err)
	}
	err := errors.Join(errs...)
	if err == nil {
		if outcome := r.endedByOthers(); outcome != nil {
			return Step{Action: Delete, Outcome: outcome}, nil
		}
	}
	return Step{Action: Nothing, After: r.deadline().Add(backstop), Role: r.role}, err
}

func (r *running) ended(reason, message string) *Outcome {
	return endedGrant(r.now, r.req, r.grant, reason, message)
}

// over is the outcome when a grant ends whatever policies and people say. Nobody holds the
// role by a binding that was emptied: that is left to endedByOthers.
func (r *running) over() (*Outcome, error) {
	atCeiling := fmt.Sprintf("access ended at the operator's ceiling of %s", r.set.MaxDuration)
	switch b := r.seen.Binding; {
	case r.req.GetDeletionTimestamp() != nil:
		return r.ended(v1alpha1.ReasonRevoked, "the request is being deleted"), nil
	case !r.now.Before(r.grant.ExpiresAt.Time):
		return r.ended(v1alpha1.ReasonExpired, promised(r.now, r.grant)), nil
	case !r.now.Before(r.grant.GrantedAt.Add(r.set.MaxDuration + binding.MaxSkew)):
		return r.ended(v1alpha1.ReasonExpired, atCeiling), nil
	case b == nil || b.DeletionTimestamp != nil:
		return nil, nil
	case r.changed() != "" && len(b.Subjects) > 0:
		return r.ended(v1alpha1.ReasonTampered, r.changed()), nil
	case r.changed() == "" && !r.now.Before(r.deadline()):
		return r.ended(v1alpha1.ReasonExpired, atCeiling), nil
	}
	return nil, nil
}

// changed says what somebody changed in the binding; empty if nobody did.
func (r *running) changed() string {
	changed := []string{"subjects"}
	if subject, err := policy.GrantSubject(r.req.RequestSpec()); err == nil {
		changed = binding.Differences(r.seen.Binding, binding.New(r.req, subject, policyName(r.req), r.grant))
	}
	if len(changed) == 0 {
		return ""
	}
	return fmt.Sprintf("RoleBinding %s was changed by somebody else (%s) and is removed", r.grant.Binding, strings.Join(changed, ", "))
}

func (r *running) givenBack() (*Outcome, error) {
	if back := returned(r.req, r.seen.Decisions); back != nil {
		return endedBy(r.now, r.req, r.grant, v1alpha1.ReasonReturned, back), nil
	}
	return nil, nil
}

func (r *running) withdrawn() (*Outcome, error) {
	objections, err := r.judge.Objections(r.grant)
	if len(objections) == 0 {
		return nil, err
	}
	message := fmt.Sprintf("policy %s does not allow this any more: %s", policyName(r.req), strings.Join(objections, "; "))
	return r.ended(v1alpha1.ReasonPolicyWithdrawn, message), nil
}

func (r *running) stopped() (*Outcome, error) {
	no, err := firstNo(r.req, r.judge, r.seen.Decisions, policyName(r.req))
	if no == nil {
		return nil, err
	}
	return endedBy(r.now, r.req, r.grant, v1alpha1.ReasonRevoked, no), nil
}

// deleted is the outcome when finalizers keep a binding that somebody else deletes.
func (r *running) deleted() (*Outcome, error) {
	if b := r.seen.Binding; b != nil && b.DeletionTimestamp != nil && len(b.Subjects) > 0 {
		return deletedByOthers(r.now, r.req, r.grant), nil
	}
	return nil, nil
}

func (r *running) roleGrown() (*Outcome, error) {
	change, err := r.judge.RoleChange(r.grant)
	if change.Revokes {
		return r.ended(v1alpha1.ReasonRoleChanged, fmt.Sprintf("%s; policy %s says onRoleChange: Revoke", change.Message, policyName(r.req))), nil
	}
	if err == nil {
		r.role = &change
	}
	return nil, err
}

// endedByOthers is the outcome if nobody holds the role any more, and neither people nor
// the policy nor the role are why. It is asked last: an operator that was killed after it
// ended access for another reason finds that reason before.
func (r *running) endedByOthers() *Outcome {
	b := r.seen.Binding
	switch {
	case b == nil || b.DeletionTimestamp != nil:
		return deletedByOthers(r.now, r.req, r.grant)
	case len(b.Subjects) == 0:
		return r.ended(v1alpha1.ReasonTampered, r.changed())
	default:
		return nil
	}
}

// deadline is the earliest end that is known of the grant.
func (r *running) deadline() time.Time {
	if b := r.seen.Binding; b != nil && binding.OwnedBy(b, r.req.GetUID()) && binding.Deadline(b, r.set.MaxDuration).Before(r.grant.ExpiresAt.Time) {
		return binding.Deadline(b, r.set.MaxDuration)
	}
	return r.grant.ExpiresAt.Time
}

func deletedByOthers(now time.Time, req v1alpha1.Request, g v1alpha1.Grant) *Outcome {
	return endedGrant(now, req, g, v1alpha1.ReasonRevoked, fmt.Sprintf("RoleBinding %s was deleted by somebody else", g.Binding))
}

// seenLate is how long after a deadline its end is no longer said to be on time.
const seenLate = time.Minute

// promised is how an end by the deadline is told. One that is seen late may have come
// late: nobody knows who was not there.
func promised(now time.Time, g v1alpha1.Grant) string {
	if now.Sub(g.ExpiresAt.Time) > seenLate {
		return fmt.Sprintf("access was promised until %s; that it is over was not seen before %s", text.Time(g.ExpiresAt.Time), text.Time(now))
	}
	return "access ended as promised at " + text.Time(g.ExpiresAt.Time)
}
