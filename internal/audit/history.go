// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"cmp"
	"slices"
	"time"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
)

// History is a request, and all that was done by it.
type History struct {
	Request   *Request        `json:"request"`
	Decisions []DatedDecision `json:"decisions,omitempty"`
	Grant     *Grant          `json:"grant,omitempty"`
	Forgotten *time.Time      `json:"forgottenAt,omitempty"`
	// Person is how somebody is concerned with it, if the question is about one.
	Person *Person `json:"person,omitempty"`
	// asOf is the newest record that Request is from.
	asOf *Record
	// named are the relations of the person of which records tell; called is that of which
	// calls tell.
	named  []Relation
	called bool
	// Calls that the grant allowed.
	Calls []*Call `json:"calls,omitempty"`
	// Others are calls of its holder in its time and namespace that something else allowed. Of
	// several bindings that allow a call, kube-apiserver names the first, so the grant may
	// have allowed them too.
	Others []*Call `json:"otherCalls,omitempty"`
	// Refused are such calls that nothing allowed.
	Refused []*Call `json:"refusedCalls,omitempty"`
}

// Person is how somebody is concerned with a request.
type Person struct {
	Name string     `json:"name"`
	Is   []Relation `json:"is"`
}

// Relation is one way to be concerned.
type Relation string

// Relations, in the order in which they are told.
const (
	// Caller: the access was a group's, and the person called under it, or as a member.
	Caller Relation = "caller"
	// Grantee: the access was for this user or group by name.
	Grantee Relation = "grantee"
	// Requester: the person asked for it.
	Requester Relation = "requester"
	// Reviewer: the person decided on it, whether that counted or not.
	Reviewer Relation = "reviewer"
)

// DatedDecision is a decision and when it was made.
type DatedDecision struct {
	At time.Time `json:"at"`
	Decision
}

// Call is a request to kube-apiserver, which its audit log tells in one Event or several.
type Call struct {
	At   time.Time `json:"at"`
	User string    `json:"user"`
	// Impersonator acted as User.
	Impersonator string `json:"impersonator,omitempty"`
	Verb         string `json:"verb"`
	Resource     string `json:"resource"`
	Namespace    string `json:"namespace,omitempty"`
	Name         string `json:"name,omitempty"`
	// Code that was answered; 0 if that is not known.
	Code  int      `json:"code,omitempty"`
	From  []string `json:"from,omitempty"`
	Agent string   `json:"agent,omitempty"`
	// AllowedBy is the reason that kube-apiserver gave.
	AllowedBy string `json:"allowedBy,omitempty"`
	// AllowedByGrant is the request, as "namespace/name", of another grant that allowed it.
	AllowedByGrant string `json:"allowedByGrant,omitempty"`
	// Until is when a session or a watch was over; nil while that is not known.
	Until *time.Time `json:"until,omitempty"`
	// Session into a pod.
	Session bool `json:"session,omitempty"`
	// Outlived says that it went on after the access had ended.
	Outlived bool `json:"outlived,omitempty"`
	// AuditID may be of the caller's choice.
	AuditID string `json:"auditID"`
}

// merged keeps the rules, which one record alone has, and the end, once there is one.
func merged(known, g *Grant) *Grant {
	if known == nil {
		return g
	}
	out := *known
	out.RoleRules = cmp.Or(known.RoleRules, g.RoleRules)
	out.RoleChange = cmp.Or(g.RoleChange, known.RoleChange)
	if g.EndedAt != nil {
		out.EndedAt, out.EndReason, out.EndedBy = g.EndedAt, g.EndReason, g.EndedBy
	}
	return &out
}

// binding is "namespace/name" of the one that gives the grant, which there has to be.
func (s *History) binding() string { return s.Request.Namespace + "/" + s.Grant.Binding }

// held says whether the grant gave access at a time.
func (s *History) held(at time.Time) bool {
	return !at.Before(s.Grant.GrantedAt) && at.Before(s.Grant.end())
}

func (s *History) began() time.Time {
	if s.Grant != nil {
		return s.Grant.GrantedAt
	}
	return s.Request.AskedAt
}

// holder is the user name or the name of the group that holds the access.
func holder(s *v1alpha1.Subject) string {
	if s == nil {
		return ""
	}
	return policy.Account(*s)
}

// end of the access, as far as it is known.
func (g *Grant) end() time.Time {
	if g.EndedAt != nil {
		return *g.EndedAt
	}
	return g.ExpiresAt
}

func isGroup(s *v1alpha1.Subject) bool { return s != nil && s.Kind == v1alpha1.GroupKind }

func holds(s *v1alpha1.Subject, who *caller) bool {
	if isGroup(s) {
		return slices.Contains(who.Groups, s.Name)
	}
	return who.Username == holder(s)
}
