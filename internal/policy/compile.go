// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"time"

	"github.com/google/cel-go/common/types/ref"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/text"
)

// DefaultApprovalTimeout is how long a request may wait for approval if its policy does not say.
const DefaultApprovalTimeout = time.Hour

// Compiled is one generation of one AccessPolicy, ready to be asked. It is
// immutable and safe for concurrent use. The zero value allows nothing.
type Compiled struct {
	ref        v1alpha1.PolicyReference
	requesters people
	nearly     []nearSubject              // requesters
	grantees   sets.Set[v1alpha1.Subject] // as they are, without looking into groups
	roles      []v1alpha1.RoleRef
	namespaces territory

	maxDuration     time.Duration
	defaultDuration time.Duration // maxDuration when the policy does not say
	conditions      []condition
	approvals       []v1alpha1.ApprovalRule
	approvalCount   int64
	approvalTimeout time.Duration
	allowDangerous  bool

	allowSelfApproval bool
	uidIsShared       bool
	whileHeld         v1alpha1.WhileHeld

	nearGrantees []nearSubject

	problems []Problem // those that need no role to be looked up
	says     sayings
	variable ref.Val // the value of the variable policy
}

// sayings are parts of objections that are the same for every request.
type sayings struct{ requesters, grantees, roles, namespaces string }

// Problem is why a policy is not in force.
type Problem struct {
	// Reason is one of v1alpha1.ReasonInvalidExpression, ReasonInvalidSelector,
	// ReasonDangerousRole and ReasonRoleNotFound.
	Reason string
	// Message is for whoever wrote the policy: one line, at most 1024 bytes.
	Message string
}

// maxProblem bounds Problem.Message, in bytes.
const maxProblem = 1024

// Compile never fails: a policy that does not compile holds its problems and allows
// nothing. It keeps nothing of p.
func Compile(p *v1alpha1.AccessPolicy) *Compiled { return compile(p, compileExpression) }

func compile(p *v1alpha1.AccessPolicy, compileOne func(string) *program) *Compiled {
	if p == nil {
		return &Compiled{}
	}
	spec := p.Spec.DeepCopy()
	c := &Compiled{
		ref:             v1alpha1.PolicyReference{Name: p.Name, UID: p.UID, Generation: p.Generation},
		requesters:      requestersOf(spec.Requesters),
		nearly:          nearOf(spec.Requesters),
		grantees:        sets.New(spec.Grantees...),
		nearGrantees:    nearOf(spec.Grantees),
		roles:           rolesOf(spec.Roles),
		maxDuration:     spec.MaxDuration.Duration,
		defaultDuration: spec.MaxDuration.Duration,
		approvalTimeout: approvalTimeoutOf(spec),
		allowDangerous:  spec.AllowDangerousRoles,

		allowSelfApproval: spec.AllowSelfApproval,
		uidIsShared:       spec.UIDIsShared,
		whileHeld:         spec.WhileHeld,
		says:              sayingsOf(spec),
		variable:          policyValue(p.Name),
	}
	if d := spec.DefaultDuration; d != nil {
		c.defaultDuration = d.Duration
	}
	c.compileApprovals(spec.Approvals)
	c.compileConditions(spec.Conditions, compileOne)
	var err error
	if c.namespaces, err = territoryOf(spec.Namespaces); err != nil {
		c.fail(v1alpha1.ReasonInvalidSelector, "namespaces.selector: "+err.Error())
	}
	return c
}

// compileApprovals makes every rule ask for somebody: a count below one, which the
// schema refuses, would be met by nobody.
func (c *Compiled) compileApprovals(rules []v1alpha1.ApprovalRule) {
	for i := range rules {
		rules[i].Count = max(rules[i].Count, 1)
		c.approvalCount += int64(rules[i].Count)
	}
	c.approvals = rules
}

func (c *Compiled) compileConditions(conditions []v1alpha1.PolicyCondition, compileOne func(string) *program) {
	for i := range conditions {
		compiled := conditionOf(conditions[i], compileOne)
		if compiled.problem != "" {
			c.fail(v1alpha1.ReasonInvalidExpression, fmt.Sprintf("conditions[%d]: %s", i, compiled.problem))
		}
		c.conditions = append(c.conditions, compiled)
	}
}

func (c *Compiled) fail(reason, message string) {
	c.problems = append(c.problems, Problem{Reason: reason, Message: text.Cut(text.Line(message), maxProblem)})
}

// rolesOf leaves out what names no role.
func rolesOf(refs []v1alpha1.RoleRef) []v1alpha1.RoleRef {
	out := make([]v1alpha1.RoleRef, 0, len(refs))
	for _, ref := range refs {
		if ref.Name != "" && (ref.Kind == v1alpha1.ClusterRoleKind || ref.Kind == v1alpha1.RoleKind) {
			out = append(out, ref)
		}
	}
	return out
}

func sayingsOf(spec *v1alpha1.AccessPolicySpec) sayings {
	return sayings{
		requesters: " is not among its requesters (" + list(textsOf(spec.Requesters, subjectText)) + ")",
		grantees:   " is neither the requester nor among its grantees (" + list(textsOf(spec.Grantees, subjectText)) + ")",
		roles:      " is not among its roles (" + list(textsOf(spec.Roles, roleText)) + ")",
		namespaces: " is not among its namespaces (" + territoryText(spec.Namespaces) + ")",
	}
}

func territoryText(match v1alpha1.NamespaceMatch) string {
	s := match.Selector
	if s == nil || len(s.MatchLabels) == 0 && len(s.MatchExpressions) == 0 {
		return list(textsOf(match.Names, quote))
	}
	labelled := "those labelled " + text.Cut(text.Line(metav1.FormatLabelSelector(s)), maxQuoted)
	if len(match.Names) == 0 {
		return labelled
	}
	return list(textsOf(match.Names, quote)) + "; " + labelled
}

// Problems are why the policy is not in force, in a stable order; none when it is.
// The ClusterRoles that it offers have to exist and, unless it says
// allowDangerousRoles, must not be dangerous. Its Roles are not looked at: they
// differ by namespace. The error is that of roles.
func (c *Compiled) Problems(roles RoleLookup) ([]Problem, error) {
	problems := append([]Problem(nil), c.problems...)
	known := roleBook{lookup: roles}
	for _, ref := range c.roles {
		if ref.Kind != v1alpha1.ClusterRoleKind {
			continue
		}
		role, err := known.find(ref)
		switch {
		case err != nil:
			return nil, err
		case !c.allowDangerous && len(role.dangers) > 0:
			problems = append(problems, Problem{v1alpha1.ReasonDangerousRole, text.Cut(dangerText(ref, role.dangers)+
				"; set allowDangerousRoles if that is meant", maxProblem)})
		case !role.found:
			problems = append(problems, Problem{v1alpha1.ReasonRoleNotFound, roleText(ref) + " does not exist" + patternText(ref)})
		}
	}
	return problems, nil
}
