// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/text"
)

// Limits are those of the operator, above every policy.
type Limits struct {
	// MaxDuration is the ceiling over every duration; zero or less allows nothing.
	MaxDuration time.Duration
	// ReservedNamespaces are names of namespaces in which nothing is granted,
	// whatever policies say. One that ends in * is a prefix, such as kube-*.
	ReservedNamespaces []string
}

// Input is what a decision is made of. Nothing in it is changed or kept.
type Input struct {
	// Request is what is asked. Required.
	Request v1alpha1.Request
	// Namespace is that of the request; nil when there is none, and then nothing is
	// allowed.
	Namespace *corev1.Namespace
	// Now is the moment of the decision. Required.
	Now time.Time
	// Limits above every policy.
	Limits Limits
	// Roles is asked last, and only for policies without another objection.
	Roles RoleLookup
}

// maxExplained is how many of the policies that match say all that they object to;
// of any further ones the first objection is given. A message holds no more, and it
// bounds what a request can cost that everybody refuses.
const maxExplained = 32

// candidate is a policy that matches requester, role and namespace, and why it does
// not allow.
type candidate struct {
	*Compiled
	objections []string
}

// Evaluate answers a request. Among the policies without objection the one that asks
// for the fewest approvals wins, then the first by name; spec.policyName leaves only
// that one to choose from. The order of policies does not matter.
//
// An error means that it could not be told; the Decision is then zero, and no yes.
func Evaluate(in Input, policies []*Compiled) (Decision, error) {
	j, err := newJudge(in)
	if err != nil {
		return Decision{}, err
	}
	if refusals := j.refusals(); len(refusals) > 0 {
		return Decision{Verdict: Denied, Refusals: refusals}, nil
	}
	candidates, near, refusals := j.sift(policies)
	decision, err := j.choose(candidates)
	if err == nil && decision.Verdict != Allowed && j.overspent {
		j.askCheapestFirst(candidates)
		decision, err = j.choose(candidates)
		if decision.Verdict == Denied && j.overspent {
			decision.Verdict = TooCostly // whoever writes policies must not refuse for others
		}
	}
	if err != nil {
		return Decision{}, err
	}
	if decision.Verdict == Allowed {
		return decision.unlessUseless(in.Request.RequestSpec().RoleRef), nil
	}
	decision.Refusals = refusals
	decision.Denials = append(j.explain(candidates), near...)
	return decision, nil
}

// unlessUseless refuses a role that gives nothing, whatever policies say. One that has no
// rules may get some.
func (d Decision) unlessUseless(ref v1alpha1.RoleRef) Decision {
	why := GivesNothing(ref, d.Role)
	switch {
	case why == "":
		return d
	case len(d.Role.Rules) > 0:
		return Decision{Verdict: Denied, Refusals: []string{why}}
	default:
		d.Verdict, d.Refusals = RoleEmpty, []string{why}
		return d
	}
}

// sift parts policies into those that match, in the order in which they may win, and
// the near misses, by name. refusals say that spec.policyName names nothing.
func (j *judge) sift(policies []*Compiled) (candidates []candidate, near []Denial, refusals []string) {
	named := j.in.Request.RequestSpec().PolicyName
	exists := named == ""
	for _, c := range policies {
		if c == nil || named != "" && c.ref.Name != named {
			continue
		}
		exists = true
		fit := j.fit(c)
		switch {
		case fit.misses() == 0:
			candidates = append(candidates, candidate{Compiled: c})
		case fit.misses() == 1 || named != "":
			near = append(near, Denial{Policy: c.ref.Name, Objections: j.misfits(c, fit)})
		}
	}
	if !exists {
		refusals = []string{"policy " + quote(named) + ", which policyName asks for, does not exist"}
	}
	slices.SortFunc(candidates, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.approvalCount, b.approvalCount), cmp.Compare(a.ref.Name, b.ref.Name), cmp.Compare(a.ref.UID, b.ref.UID))
	})
	slices.SortStableFunc(near, func(a, b Denial) int { return cmp.Compare(a.Policy, b.Policy) })
	return candidates, near, refusals
}

// choose asks the candidates in turn until one allows. A policy that only lacks a
// role is chosen when no other allows; the rest learn why they were not.
func (j *judge) choose(candidates []candidate) (Decision, error) {
	decision := Decision{Verdict: NoMatchingPolicy}
	if len(candidates) > 0 {
		decision.Verdict = Denied
	}
	for i := range candidates {
		c := &candidates[i]
		if c.objections = j.firstObjection(c.Compiled); len(c.objections) > 0 {
			continue
		}
		missing, objections, err := j.roles.offered(c.Compiled, j.in.Request.RequestSpec().RoleRef)
		switch {
		case err != nil:
			return Decision{}, err
		case len(objections) > 0:
			c.objections = objections
		case len(missing) == 0:
			return j.decide(Allowed, c.Compiled, nil), nil
		case decision.Verdict == RoleMissing:
			c.objections = []string{"it lists " + list(textsOf(missing, roleText)) + ", which does not exist"}
		default:
			decision = j.decide(RoleMissing, c.Compiled, missing)
		}
	}
	return decision, nil
}

func (j *judge) decide(verdict Verdict, c *Compiled, missing []v1alpha1.RoleRef) Decision {
	ref := c.ref
	duration, _ := j.duration(c)
	return Decision{
		Verdict: verdict, Policy: &ref, Duration: duration, MaxDuration: min(c.maxDuration, j.in.Limits.MaxDuration), Missing: missing, Role: j.roles.pages[j.in.Request.RequestSpec().RoleRef].Role,
		Approvals: c.approvals, ApprovalTimeout: c.approvalTimeout, AllowSelfApproval: c.allowSelfApproval, UIDIsShared: c.uidIsShared,
		WhileHeld: c.whileHeld,
	}
}

// explain completes the objections of the candidates that have any, by name.
func (j *judge) explain(candidates []candidate) []Denial {
	slices.SortStableFunc(candidates, func(a, b candidate) int { return cmp.Compare(a.ref.Name, b.ref.Name) })
	denials := make([]Denial, 0, len(candidates))
	for _, c := range candidates {
		if len(c.objections) == 0 {
			continue
		}
		if len(denials) < maxExplained {
			if all := slices.Collect(j.objections(c.Compiled)); len(all) > 0 {
				c.objections = all
			}
		}
		denials = append(denials, Denial{Policy: c.ref.Name, Objections: c.objections})
	}
	return denials
}

// StillAllows gives the objections that the policy, as it is now, has to a grant that
// runs: judged as of in.Now, the time of the grant, with granted as the duration that
// was given. None means that it still allows it.
//
// It asks what the policy says, not what Limits say, nor whether the roles exist. A
// ClusterRole is looked up only to see whether it is dangerous, and if that cannot be
// told it is an objection. Approvals are not counted.
func (c *Compiled) StillAllows(in Input, granted time.Duration) (objections []string) {
	j, err := newJudge(in)
	if err != nil {
		return []string{err.Error()}
	}
	if in.Namespace == nil {
		return []string{j.namespaceText + " does not exist"}
	}
	if in.Request.RequestSpec().PolicyName != "" && in.Request.RequestSpec().PolicyName != c.ref.Name {
		return []string{"the request asks for policy " + quote(in.Request.RequestSpec().PolicyName)}
	}
	j.granted = &granted
	objections = append(j.misfits(c, j.fit(c)), slices.Collect(j.objections(c))...)
	return append(objections, j.newDangers(c)...)
}

// newDangers is whether the policy may no longer offer the role that was granted.
func (j *judge) newDangers(c *Compiled) []string {
	ref := j.in.Request.RequestSpec().RoleRef
	if c.allowDangerous {
		return nil
	}
	dangers := Dangers(ref, nil)
	if ref.Kind == v1alpha1.ClusterRoleKind {
		role, err := j.roles.find(ref)
		if err != nil {
			return []string{"it could not be told whether the role is dangerous: " + text.Cut(text.Line(err.Error()), maxQuoted)}
		}
		dangers = role.dangers
	}
	if len(dangers) == 0 {
		return nil
	}
	return []string{dangerObjection(ref, dangers)}
}

var (
	errNoRequest = errors.New("there is no request to judge")
	errNoTime    = errors.New("the time of the decision is missing")
)

// validate is an error when the input makes no sense, so that nothing can be told.
func (in Input) validate() error {
	switch {
	case in.Request == nil:
		return errNoRequest
	case in.Now.IsZero():
		return errNoTime
	case in.Namespace != nil && in.Namespace.Name != in.Request.GetNamespace():
		return fmt.Errorf("the request is in namespace %s, and is judged by namespace %s", quote(in.Request.GetNamespace()), quote(in.Namespace.Name))
	}
	return nil
}
