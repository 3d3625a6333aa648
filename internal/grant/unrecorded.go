// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/text"
)

// unrecorded looks after a binding that has our name while status knows of no
// grant: the operator was killed in between, or it is a stranger's.
func unrecorded(now time.Time, req v1alpha1.Request, judge Judge, seen Observed, set Settings) (Step, error) {
	b := seen.Binding
	g, readable := binding.Of(b)
	if !readable || !madeFor(b, req) {
		return Step{Action: Nothing, Outcome: conflict(b.Name)}, nil
	}
	promise := promised(now, g)
	if latest := binding.Deadline(b, set.MaxDuration); latest.Before(g.ExpiresAt.Time) {
		// Nobody promised what its annotation says.
		g.ExpiresAt = metav1.NewTime(latest)
		promise = fmt.Sprintf("access ended at the operator's ceiling of %s, at %s", set.MaxDuration, text.Time(latest))
	}
	end := func(reason, message string) (Step, error) {
		return Step{Action: Empty, Outcome: endedGrant(now, req, g, reason, message)}, nil
	}
	switch {
	case req.GetDeletionTimestamp() != nil:
		return end(v1alpha1.ReasonRevoked, "the request is being deleted")
	case !now.Before(g.ExpiresAt.Time):
		return end(v1alpha1.ReasonExpired, promise)
	case b.DeletionTimestamp != nil:
		return Step{Action: Empty, Outcome: deletedByOthers(now, req, g)}, nil
	}
	if back := returned(req, seen.Decisions); back != nil {
		return Step{Action: Empty, Outcome: endedBy(now, req, g, v1alpha1.ReasonReturned, back)}, nil
	}
	return adopt(now, req, g, judge, seen)
}

// lost ends a grant of which there is no trace but in memory: its binding went before status
// knew of it. A request is granted once.
func lost(now time.Time, req v1alpha1.Request, g v1alpha1.Grant) Step {
	if !now.Before(g.ExpiresAt.Time) {
		return Step{Action: Nothing, Outcome: endedGrant(now, req, g, v1alpha1.ReasonExpired, promised(now, g))}
	}
	return Step{Action: Nothing, Outcome: deletedByOthers(now, req, g)}
}

// adopt records a binding that the operator created before it was killed.
func adopt(now time.Time, req v1alpha1.Request, g v1alpha1.Grant, judge Judge, seen Observed) (Step, error) {
	name := seen.Binding.Annotations[v1alpha1.PolicyAnnotation]
	no, err := firstNo(req, judge, seen.Decisions, name)
	if err != nil {
		return Step{}, err
	}
	if no != nil {
		return Step{Action: Empty, Outcome: endedBy(now, req, g, v1alpha1.ReasonRevoked, no)}, nil
	}
	// It is recorded if it is exactly what would be granted, had the decision been made
	// when it was. It was granted by clocks that agreed and under policies in force.
	seen.Skew, seen.Admission.Enforced = 0, true
	step, err := undecided(now, req, judge, seen)
	if err != nil {
		return Step{}, err
	}
	b, want := seen.Binding, step.Binding
	if step.Action != Create || name != step.Outcome.Policy.Name {
		message := fmt.Sprintf("policy %s does not allow this any more: %s", foreign(name), step.Outcome.Message)
		return Step{Action: Empty, Outcome: endedGrant(now, req, g, v1alpha1.ReasonPolicyWithdrawn, message)}, nil
	}
	if len(b.Subjects) == 0 {
		// Asked after what else may have ended it. A replica ends access of which it
		// cannot tell whether the request is still there.
		message := fmt.Sprintf("the subjects were taken off RoleBinding %s before the grant was recorded", b.Name)
		return Step{Action: Empty, Outcome: endedGrant(now, req, g, v1alpha1.ReasonRevoked, message)}, nil
	}
	binding.CopyTimes(want, b)
	if len(binding.Differences(b, want)) > 0 || g.ExpiresAt.After(step.Outcome.Grant.ExpiresAt.Time) {
		return Step{Action: Nothing, Outcome: conflict(b.Name)}, nil
	}
	g.Role = step.Outcome.Grant.Role
	step.Outcome.Grant = &g
	return Step{Action: Nothing, Outcome: step.Outcome, After: g.ExpiresAt.Add(backstop)}, nil
}
