// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/text"
)

// judge holds one request while policies are asked about it. What is the same for
// every policy is worked out once. It is not safe for concurrent use.
type judge struct {
	in      Input
	granted *time.Duration // the duration of a grant that runs, else nil

	requester string // user name, empty when there is none
	groups    sets.Set[string]
	subject   v1alpha1.Subject
	asksOther bool  // for somebody besides the requester
	refused   error // why subject cannot be granted anything

	roles roleBook

	vars     *variables // made when the first condition is asked
	outcomes map[question]outcome
	spent    uint64 // on conditions, in CEL's units
	// overspent says that there was a condition that was not asked, since too much was spent.
	overspent bool

	nearly map[near]string // names of who asks; made when first needed

	requesterText, subjectText, roleText, namespaceText string // as objections begin
}

func newJudge(in Input) (*judge, error) {
	if err := in.validate(); err != nil {
		return nil, err
	}
	spec := in.Request.RequestSpec()
	j := &judge{
		in: in, roles: roleBook{lookup: in.Roles}, outcomes: map[question]outcome{}, asksOther: true,
		roleText:      "roleRef " + roleText(spec.RoleRef),
		namespaceText: "namespace " + quote(in.Request.GetNamespace()),
	}
	if r := spec.Requester; r != nil {
		j.requester, j.groups = r.Username, sets.New(r.Groups...)
		j.requesterText = "requester " + quote(r.Username) + groupsText(j.groups)
	}
	j.subject, j.refused = GrantSubject(spec)
	j.subjectText = "subject " + subjectText(j.subject)
	// Who cannot be granted anything himself asks for somebody else, or is refused.
	if self, err := exactSubject("requester", v1alpha1.Subject{Kind: v1alpha1.UserKind, Name: j.requester}); err == nil {
		j.asksOther = self != j.subject
	}
	return j, nil
}

// refusals are what is wrong with the request whatever policies say.
func (j *judge) refusals() (out []string) {
	if j.refused != nil {
		out = append(out, j.refused.Error())
	}
	if limit := j.in.Limits.MaxDuration; limit <= 0 {
		out = append(out, "the operator's ceiling for durations is "+text.Duration(limit)+", so nothing is granted")
	}
	ns := j.in.Namespace
	switch reserved := reservedBy(j.in.Limits.ReservedNamespaces, j.in.Request.GetNamespace()); {
	case reserved != "":
		out = append(out, j.namespaceText+" is reserved by the operator ("+quote(reserved)+"), whatever policies say")
	case ns == nil:
		out = append(out, j.namespaceText+" does not exist")
	case ns.DeletionTimestamp != nil:
		out = append(out, j.namespaceText+" is being deleted")
	}
	if end := j.in.Request.RequestSpec().NotAfter; end != nil && !end.After(j.in.Now) {
		out = append(out, fmt.Sprintf("notAfter %s is in the past, it is now %s; create a request with a later one",
			text.Time(end.Time), text.Time(j.in.Now)))
	}
	return out
}

// fit is in which respects a policy is for a request.
type fit struct{ role, namespace, requester bool }

func (f fit) misses() (n int) {
	for _, matches := range [...]bool{f.role, f.namespace, f.requester} {
		if !matches {
			n++
		}
	}
	return n
}

// fit is the part that is asked of every policy there is, so it is cheap.
func (j *judge) fit(c *Compiled) fit {
	return fit{
		role:      slices.Contains(c.roles, j.in.Request.RequestSpec().RoleRef),
		namespace: c.namespaces.includes(j.in.Namespace),
		requester: c.requesters.include(j.requester, j.groups),
	}
}

// misfits says in which respects the policy is not for the request.
func (j *judge) misfits(c *Compiled, f fit) (out []string) {
	if !f.requester {
		out = append(out, j.requesterText+c.says.requesters+j.nearRequester(c))
	}
	if !f.role {
		out = append(out, j.roleText+c.says.roles)
	}
	if !f.namespace {
		out = append(out, j.namespaceText+c.says.namespaces)
	}
	return out
}

// firstObjection is at most one.
func (j *judge) firstObjection(c *Compiled) []string {
	for objection := range j.objections(c) {
		return []string{objection}
	}
	return nil
}

// objections of a policy that is for the request, the cheap ones first; roles apart.
func (j *judge) objections(c *Compiled) iter.Seq[string] {
	return func(yield func(string) bool) {
		if len(c.problems) > 0 {
			yield("it is not in force: " + c.problems[0].Message)
			return
		}
		if j.refused != nil && !yield(j.refused.Error()) {
			return
		}
		if j.refused == nil && j.asksOther && !c.grantees.Has(j.subject) && !yield(j.subjectText+c.says.grantees+j.nearGrantee(c)) {
			return
		}
		if _, objection := j.duration(c); objection != "" && !yield(objection) {
			return
		}
		j.askConditions(c, yield)
	}
}

// duration is how long access would last under a policy, and what is to be said
// against it.
func (j *judge) duration(c *Compiled) (d time.Duration, objection string) {
	if j.granted != nil {
		if *j.granted > c.maxDuration {
			return *j.granted, "the granted " + text.Duration(*j.granted) + " are longer than its maxDuration " + text.Duration(c.maxDuration)
		}
		return *j.granted, ""
	}
	name := "duration "
	if asked := j.in.Request.RequestSpec().Duration; asked != nil {
		d = asked.Duration
	} else {
		d, name = c.defaultDuration, "the request names no duration, and the policy's default "
	}
	limit, limitText := c.maxDuration, "its maxDuration "
	if ceiling := j.in.Limits.MaxDuration; ceiling < limit {
		limit, limitText = ceiling, "the operator's ceiling "
	}
	switch {
	case d <= 0:
		return d, name + text.Duration(d) + " is not longer than 0s"
	case d > limit:
		return d, name + text.Duration(d) + " is longer than " + limitText + text.Duration(limit)
	}
	return d, ""
}

// askConditions yields what every condition that does not hold has to say.
func (j *judge) askConditions(c *Compiled, yield func(string) bool) {
	for _, condition := range c.conditions {
		out, asked := j.ask(c, condition.program)
		objection := condition.objection
		switch {
		case !asked:
			yield(fmt.Sprintf("it was not asked: the conditions of all policies together cost more than %d; name one policy in policyName", judgementCost))
			return
		case out.holds:
			continue
		case out.failure != "":
			objection += " (the condition failed: " + out.failure + ")"
		}
		if !yield(objection) {
			return
		}
	}
}

// question is a program, and the policy that asks if the answer depends on it.
type question struct {
	*program
	policy string
}

// ask runs a program, or remembers what it said: policies that share an expression share
// its answer, unless it names the policy. Once too much is spent, nothing is run any more.
func (j *judge) ask(c *Compiled, p *program) (out outcome, asked bool) {
	q := question{program: p}
	if p.namesPolicy {
		q.policy = c.ref.Name
	}
	if out, known := j.outcomes[q]; known {
		return out, true
	}
	if j.spent >= judgementCost {
		j.overspent = true
		return outcome{}, false
	}
	if j.vars == nil {
		j.vars = variablesOf(j.in)
	}
	j.vars.policy = c.variable
	out = p.run(j.vars)
	j.spent += out.cost
	j.outcomes[q] = out
	return out, true
}

// askCheapestFirst asks the candidates again, those that may cost little before those that
// may cost much: a dear policy must not keep another one from being asked.
func (j *judge) askCheapestFirst(candidates []candidate) {
	j.spent, j.overspent, j.outcomes = 0, false, map[question]outcome{}
	cheapest := slices.Clone(candidates)
	slices.SortStableFunc(cheapest, func(a, b candidate) int { return cmp.Compare(a.most(), b.most()) })
	for _, c := range cheapest {
		j.firstObjection(c.Compiled) // what it asks is remembered
	}
}

// most is what the conditions of a policy may cost for a request of usual size.
func (c *Compiled) most() (sum uint64) {
	for _, condition := range c.conditions {
		if sum += min(condition.most, unknownCost); sum > unknownCost {
			return unknownCost
		}
	}
	return sum
}
