// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/printers"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
)

// table is how requests are shown to people.
type table struct {
	now           time.Time
	allNamespaces bool
	wide          bool
	// needed is how many people a policy asks for, by the name of the policy; one
	// that could not be read is missing.
	needed map[string]int
}

func (t table) header() string {
	columns := []string{"NAME", "SUBJECT", "ROLE", "STATE", "REMAINING", "APPROVALS", "AGE"}
	if t.allNamespaces {
		columns = append([]string{"NAMESPACE"}, columns...)
	}
	if t.wide {
		columns = append(columns, "REQUESTER", "POLICY", "BINDING", "WHY")
	}
	return strings.Join(columns, "\t")
}

func (t table) row(req *v1alpha1.AccessRequest) string {
	cells := []string{
		cell(req.Name), cell(grantee(req)), cell(policy.RoleArgument(req.Spec.RoleRef)), cell(stateText(req)),
		cell(t.remaining(req)), cell(t.approvals(req)), duration.HumanDuration(t.now.Sub(req.CreationTimestamp.Time)),
	}
	if t.allNamespaces {
		cells = append([]string{cell(req.Namespace)}, cells...)
	}
	if t.wide {
		var requester, policy, binding string
		if r := req.Spec.Requester; r != nil {
			requester = r.Username
		}
		if r := req.Status.Policy; r != nil {
			policy = r.Name
		}
		if g := req.Status.Grant; g != nil {
			binding = g.Binding
		}
		cells = append(cells, cell(requester), cell(policy), cell(binding), cell(req.Spec.Reason))
	}
	return strings.Join(cells, "\t")
}

// print writes the requests as a table.
func (t table) print(w io.Writer, requests []v1alpha1.AccessRequest) error {
	out := printers.GetNewTabWriter(w)
	fmt.Fprintln(out, t.header())
	for i := range requests {
		fmt.Fprintln(out, t.row(&requests[i]))
	}
	return out.Flush()
}

// stateText is the state, and the reason where that says more.
func stateText(req *v1alpha1.AccessRequest) string {
	state := string(req.Status.State)
	if state == "" {
		return "New"
	}
	switch reason := reasonOf(req); reason {
	case "", state, v1alpha1.ReasonPendingApproval, v1alpha1.ReasonGranted:
		return state
	default:
		return state + " (" + reason + ")"
	}
}

// reasonOf is the reason of Ready.
func reasonOf(req *v1alpha1.AccessRequest) string {
	if c := meta.FindStatusCondition(req.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		return c.Reason
	}
	return ""
}

// messageOf is what Ready says to people.
func messageOf(req *v1alpha1.AccessRequest) string {
	if c := meta.FindStatusCondition(req.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		return c.Message
	}
	return ""
}

// remaining is how long access lasts yet, or when it begins.
func (t table) remaining(req *v1alpha1.AccessRequest) string {
	switch req.Status.State {
	case v1alpha1.StateActive:
		if g := req.Status.Grant; g != nil && g.ExpiresAt.Time.Before(t.now) {
			return "overdue, " + until(t.now, g.ExpiresAt.Time)
		} else if g != nil {
			return until(t.now, g.ExpiresAt.Time)
		}
	case v1alpha1.StateScheduled:
		if start := req.Spec.NotBefore; start != nil {
			return "begins " + until(t.now, start.Time)
		}
	case v1alpha1.StatePending, v1alpha1.StateFailed, v1alpha1.StateExpired, v1alpha1.StateReturned, v1alpha1.StateDenied, v1alpha1.StateRevoked:
	}
	return ""
}

// approvals got, and how many are needed; "1/?" when the policy could not be read.
func (t table) approvals(req *v1alpha1.AccessRequest) string {
	got := len(req.Status.Approvals)
	if req.Status.Policy == nil {
		return ""
	}
	needed, known := t.needed[req.Status.Policy.Name]
	switch {
	case awaited(req) && !known:
		return strconv.Itoa(got) + "/?"
	case awaited(req) && needed > 0:
		return fmt.Sprintf("%d/%d", got, needed)
	case got > 0:
		// What was granted had all that it needed then, whatever the policy says now.
		return fmt.Sprintf("%d/%d", got, got)
	default:
		return ""
	}
}

// awaited says whether the request lacks, or did lack at its end, an approval.
func awaited(req *v1alpha1.AccessRequest) bool {
	switch reasonOf(req) {
	case v1alpha1.ReasonPendingApproval, v1alpha1.ReasonApprovalTimedOut, v1alpha1.ReasonDenied:
		return true
	default:
		return false
	}
}
