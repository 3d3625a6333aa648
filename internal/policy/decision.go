// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"
	"time"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/text"
)

// Verdict is the answer to a request. The zero value is no answer, and not a yes.
type Verdict string

const (
	// Allowed: a policy has no objection. Approvals may still be missing.
	Allowed Verdict = "Allowed"
	// RoleMissing: a policy would have no objection if a role existed; ask again.
	RoleMissing Verdict = "RoleMissing"
	// RoleEmpty: a policy would have no objection if the role had rules; ask again.
	RoleEmpty Verdict = "RoleEmpty"
	// Denied: a policy matches requester, role and namespace, and all that do
	// object; or the request is refused whatever policies say.
	Denied Verdict = "Denied"
	// TooCostly: no policy that was asked allows the request, and not all could be asked.
	TooCostly Verdict = "TooCostly"
	// NoMatchingPolicy: no policy matches requester, role and namespace.
	NoMatchingPolicy Verdict = "NoMatchingPolicy"
)

// Decision is a verdict with its reasons. Its slices are shared: change nothing in
// them.
type Decision struct {
	Verdict Verdict
	// Policy that allows, for Allowed, RoleMissing and RoleEmpty; else nil.
	Policy *v1alpha1.PolicyReference
	// Duration is how long access would last from its beginning: what the request
	// says, else the policy's default, else its maximum. Positive where there is a Policy,
	// else zero. notAfter may cut it.
	Duration time.Duration
	// MaxDuration is the longest that Policy and Limits allow; zero without a Policy.
	MaxDuration time.Duration
	// Approvals that Policy asks for; every count is at least one.
	Approvals []v1alpha1.ApprovalRule
	// AllowSelfApproval of Policy: requester and grantee may approve.
	AllowSelfApproval bool
	// UIDIsShared of Policy: several people may have one UID.
	UIDIsShared bool
	// WhileHeld of Policy: what a holder may make in the namespace.
	WhileHeld v1alpha1.WhileHeld
	// ApprovalTimeout of Policy, from the creation of the request; one hour when the
	// policy does not say.
	ApprovalTimeout time.Duration
	// Missing are the roles that do not exist, the requested one first. Not empty
	// for RoleMissing, else empty.
	Missing []v1alpha1.RoleRef
	// Role that is asked for, as it was judged; set for Allowed and RoleEmpty.
	Role Role
	// Refusals are what is wrong with the request, or its role, whatever policies say.
	Refusals []string
	// Denials are what policies that concern the request or nearly do object to,
	// unless the verdict is Allowed: those that match requester, role and namespace
	// first, then by name.
	Denials []Denial
}

// Denial is one policy's no.
type Denial struct {
	// Policy is its name.
	Policy string
	// Objections that it has, at least one, each a part of a sentence.
	Objections []string
}

// maxMessage bounds Message, in bytes. A condition's message in Kubernetes holds
// 32768.
const maxMessage = 4096

// Message is what a person reads: one line, at most 4096 bytes. It says what was
// asked, what the limit is, and what would have been allowed.
func (d Decision) Message() string {
	switch d.Verdict {
	case Allowed:
		return text.Cut(d.allowedText(), maxMessage)
	case RoleMissing:
		return text.Cut(d.missingText(), maxMessage)
	case RoleEmpty:
		return text.Cut(d.policyText()+" would allow this, but "+d.refusalText()+"; it is tried again", maxMessage)
	case Denied:
		if len(d.Refusals) > 0 && len(d.Denials) == 0 {
			return text.Cut(d.refusalText(), maxMessage)
		}
		return d.withDenials("no policy allows this")
	case TooCostly:
		return d.withDenials("no policy that was asked allows this, and the conditions of all together cost too much; it is tried again")
	case NoMatchingPolicy:
		if len(d.Refusals) > 0 {
			return d.withDenials(d.refusalText())
		}
		return d.withDenials("no policy is for this requester, role and namespace")
	default:
		return "nothing was decided"
	}
}

func (d Decision) refusalText() string { return strings.Join(d.Refusals, "; ") }

func (d Decision) allowedText() string {
	text := d.policyText() + " allows this for " + text.Duration(d.Duration)
	var people int64
	for _, rule := range d.Approvals {
		people += int64(rule.Count)
	}
	switch people {
	case 0:
		return text
	case 1:
		return text + " once 1 person has approved"
	default:
		return fmt.Sprintf("%s once %d people have approved", text, people)
	}
}

func (d Decision) missingText() string {
	if len(d.Missing) == 0 {
		return d.policyText() + " would allow this, but a role does not exist"
	}
	names := list(textsOf(d.Missing, roleText))
	if len(d.Missing) == 1 {
		return d.policyText() + " would allow this, but " + names + " does not exist; it is tried again"
	}
	return d.policyText() + " would allow this, but these roles do not exist: " + names + "; it is tried again"
}

func (d Decision) policyText() string {
	if d.Policy == nil {
		return "a policy"
	}
	return "policy " + text.Cut(text.Line(d.Policy.Name), maxQuoted)
}

// withDenials appends the denials to what is said as far as they fit.
func (d Decision) withDenials(said string) string {
	const reserve = len("; and 9223372036854775807 more policies")
	var b strings.Builder
	b.WriteString(text.Cut(said, maxMessage-reserve))
	for i, denial := range d.Denials {
		separator := "; "
		if i == 0 {
			separator = ": "
		}
		part := separator + "policy " + text.Cut(text.Line(denial.Policy), maxQuoted) + ": " + strings.Join(denial.Objections, ", and ")
		room := maxMessage - b.Len()
		last := i == len(d.Denials)-1
		if last && len(part) <= room || len(part) <= room-reserve {
			b.WriteString(part)
			continue
		}
		rest := len(d.Denials) - i
		// Half a sentence is worth showing when it is the first one.
		if i == 0 && room > reserve {
			b.WriteString(text.Cut(part, room-reserve))
			rest--
		}
		b.WriteString(moreText(rest))
		break
	}
	return b.String()
}

func moreText(policies int) string {
	switch policies {
	case 0:
		return ""
	case 1:
		return "; and 1 more policy"
	default:
		return fmt.Sprintf("; and %d more policies", policies)
	}
}
