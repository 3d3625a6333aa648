// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"errors"
	"fmt"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/text"
)

// recorded looks after a grant that status knows of.
func recorded(now time.Time, req *v1alpha1.AccessRequest, g v1alpha1.Grant, judge Judge, seen Observed, set Settings) (Step, error) {
	b := seen.Binding
	reason, message := ending(now, req, g, seen, set)
	emptied := reason == v1alpha1.ReasonTampered && len(b.Subjects) == 0
	if reason != "" && !emptied {
		return Step{Action: Delete, Outcome: ended(now, req, g, reason, message)}, nil
	}
	outcome, err := objected(now, req, g, judge, seen)
	if outcome != nil {
		return Step{Action: Delete, Outcome: outcome}, nil
	}
	if b != nil && b.DeletionTimestamp != nil && len(b.Subjects) > 0 {
		return Step{Action: Delete, Outcome: deletedByOthers(now, req, g)}, nil // access goes on by it
	}
	// The role is asked about even if people and policy could not be: it may end this.
	change, roleErr := judge.RoleChange(g)
	err = errors.Join(err, roleErr)
	if change.Revokes {
		outcome = ended(now, req, g, v1alpha1.ReasonRoleChanged, fmt.Sprintf("%s; policy %s says onRoleChange: Revoke", change.Message, policyName(req)))
	} else if err == nil {
		outcome = endedByOthers(now, req, g, b, message)
	}
	if outcome != nil {
		return Step{Action: Delete, Outcome: outcome}, nil
	}
	step := Step{Action: Nothing, After: deadlineOf(req, g, seen, set).Add(backstop)}
	if roleErr == nil {
		step.Role = &change
	}
	return step, err
}

// endedByOthers is the outcome if nobody holds the role any more, and neither people nor
// the policy nor the role are why; emptied says how the subjects went. It is asked last: an
// operator that was killed after it ended access for another reason finds that reason
// before. While that cannot be told nobody is blamed.
func endedByOthers(now time.Time, req *v1alpha1.AccessRequest, g v1alpha1.Grant, b *rbacv1.RoleBinding, emptied string) *Outcome {
	switch {
	case emptied != "":
		return ended(now, req, g, v1alpha1.ReasonTampered, emptied)
	case b == nil || b.DeletionTimestamp != nil:
		return deletedByOthers(now, req, g)
	default:
		return nil
	}
}

func deletedByOthers(now time.Time, req *v1alpha1.AccessRequest, g v1alpha1.Grant) *Outcome {
	return ended(now, req, g, v1alpha1.ReasonRevoked, fmt.Sprintf("RoleBinding %s was deleted by somebody else", g.Binding))
}

// ending is why a recorded grant ends whatever policies and people say; empty if it
// does not.
func ending(now time.Time, req *v1alpha1.AccessRequest, g v1alpha1.Grant, seen Observed, set Settings) (reason, message string) {
	switch {
	case req.DeletionTimestamp != nil:
		return v1alpha1.ReasonRevoked, "the request is being deleted"
	case !now.Before(g.ExpiresAt.Time):
		return v1alpha1.ReasonExpired, promised(now, g)
	case !now.Before(g.GrantedAt.Add(set.MaxDuration + binding.MaxSkew)):
		return v1alpha1.ReasonExpired, fmt.Sprintf("access ended at the operator's ceiling of %s", set.MaxDuration)
	case seen.Binding == nil || seen.Binding.DeletionTimestamp != nil:
		return "", ""
	}
	if changed := changes(req, g, seen); len(changed) > 0 {
		return v1alpha1.ReasonTampered, fmt.Sprintf("RoleBinding %s was changed by somebody else (%s) and is removed", g.Binding, strings.Join(changed, ", "))
	}
	if !now.Before(deadlineOf(req, g, seen, set)) {
		return v1alpha1.ReasonExpired, fmt.Sprintf("access ended at the operator's ceiling of %s", set.MaxDuration)
	}
	return "", ""
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

// objected is the outcome when a person or the policy ends a recorded grant; nil if
// none does, or with an error if it cannot be told.
func objected(now time.Time, req *v1alpha1.AccessRequest, g v1alpha1.Grant, judge Judge, seen Observed) (*Outcome, error) {
	if back := returned(req, seen.Decisions); back != nil {
		return endedBy(now, req, g, v1alpha1.ReasonReturned, back), nil
	}
	objections, err := judge.Objections(g)
	if len(objections) > 0 {
		message := fmt.Sprintf("policy %s does not allow this any more: %s", policyName(req), strings.Join(objections, "; "))
		return ended(now, req, g, v1alpha1.ReasonPolicyWithdrawn, message), nil
	}
	no, noErr := stopped(req, judge, seen.Decisions, policyName(req))
	if no != nil {
		return endedBy(now, req, g, v1alpha1.ReasonRevoked, no), nil
	}
	return nil, errors.Join(err, noErr)
}

// deadlineOf is the earliest end that is known of a grant.
func deadlineOf(req *v1alpha1.AccessRequest, g v1alpha1.Grant, seen Observed, set Settings) time.Time {
	if b := seen.Binding; b != nil && binding.OwnedBy(b, req.UID) && binding.Deadline(b, set.MaxDuration).Before(g.ExpiresAt.Time) {
		return binding.Deadline(b, set.MaxDuration)
	}
	return g.ExpiresAt.Time
}

// unrecorded looks after a binding that has our name while status knows of no
// grant: the operator was killed in between, or it is a stranger's.
func unrecorded(now time.Time, req *v1alpha1.AccessRequest, judge Judge, seen Observed, set Settings) (Step, error) {
	b := seen.Binding
	g, readable := binding.Of(b)
	if !readable || !madeFor(b, req) {
		return Step{Action: Nothing, Outcome: conflict(b.Name), After: now.Add(RetryAfter)}, nil
	}
	promise := promised(now, g)
	if latest := binding.Deadline(b, set.MaxDuration); latest.Before(g.ExpiresAt.Time) {
		// Nobody promised what its annotation says.
		g.ExpiresAt = metav1.NewTime(latest)
		promise = fmt.Sprintf("access ended at the operator's ceiling of %s, at %s", set.MaxDuration, text.Time(latest))
	}
	end := func(reason, message string) (Step, error) {
		return Step{Action: Empty, Outcome: ended(now, req, g, reason, message)}, nil
	}
	switch {
	case req.DeletionTimestamp != nil:
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
func lost(now time.Time, req *v1alpha1.AccessRequest, g v1alpha1.Grant) Step {
	if !now.Before(g.ExpiresAt.Time) {
		return Step{Action: Nothing, Outcome: ended(now, req, g, v1alpha1.ReasonExpired, promised(now, g))}
	}
	return Step{Action: Nothing, Outcome: deletedByOthers(now, req, g)}
}

// adopt records a binding that the operator created before it was killed.
func adopt(now time.Time, req *v1alpha1.AccessRequest, g v1alpha1.Grant, judge Judge, seen Observed) (Step, error) {
	name := seen.Binding.Annotations[v1alpha1.PolicyAnnotation]
	no, err := stopped(req, judge, seen.Decisions, name)
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
		return Step{Action: Empty, Outcome: ended(now, req, g, v1alpha1.ReasonPolicyWithdrawn, message)}, nil
	}
	if len(b.Subjects) == 0 {
		// Asked after what else may have ended it. A replica ends access of which it
		// cannot tell whether the request is still there.
		message := fmt.Sprintf("the subjects were taken off RoleBinding %s before the grant was recorded", b.Name)
		return Step{Action: Empty, Outcome: ended(now, req, g, v1alpha1.ReasonRevoked, message)}, nil
	}
	binding.CopyTimes(want, b)
	if len(binding.Differences(b, want)) > 0 || g.ExpiresAt.After(step.Outcome.Grant.ExpiresAt.Time) {
		return Step{Action: Nothing, Outcome: conflict(b.Name), After: now.Add(RetryAfter)}, nil
	}
	g.Role = step.Outcome.Grant.Role
	step.Outcome.Grant = &g
	return Step{Action: Nothing, Outcome: step.Outcome, After: g.ExpiresAt.Add(backstop)}, nil
}
