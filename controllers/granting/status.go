// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/grant"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/text"
)

// maxMessage bounds the message of a condition, in bytes. The API allows 32768; but
// a request carries up to four of them, and all of it is kept.
const maxMessage = 4096

// setStatus writes an outcome into the status of a request; nil changes nothing.
func setStatus(now time.Time, req v1alpha1.Request, o *grant.Outcome) {
	if o == nil {
		return
	}
	s := req.RequestStatus()
	s.ObservedGeneration, s.State, s.Policy, s.Grant, s.Approvals = req.GetGeneration(), o.State, o.Policy, o.Grant, o.Approvals
	for _, c := range []metav1.Condition{readyCondition(o), approvedCondition(o), grantedCondition(o)} {
		setCondition(now, req, c)
	}
	onItsWay := o.State == v1alpha1.StatePending || o.State == v1alpha1.StateScheduled || o.State == v1alpha1.StateFailed
	setIf(now, req, onItsWay, v1alpha1.ConditionReconciling, o.Reason, o.Message)
	badEnd := o.State == v1alpha1.StateDenied || o.State == v1alpha1.StateRevoked
	setIf(now, req, badEnd, v1alpha1.ConditionStalled, o.Reason, o.Message)
}

// readyCondition sums the request up.
func readyCondition(o *grant.Outcome) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionReady, Reason: o.Reason, Message: o.Message}
	switch o.State {
	case v1alpha1.StateActive, v1alpha1.StateExpired, v1alpha1.StateReturned:
		c.Status = metav1.ConditionTrue
	case v1alpha1.StateDenied, v1alpha1.StateRevoked, v1alpha1.StateFailed:
		c.Status = metav1.ConditionFalse
	case v1alpha1.StatePending, v1alpha1.StateScheduled:
		c.Status = metav1.ConditionUnknown
	default:
		c.Status = metav1.ConditionUnknown
	}
	return c
}

// approvedCondition says whether the request was allowed.
func approvedCondition(o *grant.Outcome) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionApproved}
	switch {
	case o.State == v1alpha1.StateDenied:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, o.Reason, o.Message
	case o.State == v1alpha1.StatePending, o.Policy == nil, o.Reason == v1alpha1.ReasonRoleNotFound, o.Reason == v1alpha1.ReasonRoleEmpty, o.Reason == v1alpha1.ReasonConditionsTooCostly, o.State == v1alpha1.StateReturned && o.Grant == nil:
		c.Status, c.Reason, c.Message = metav1.ConditionUnknown, o.Reason, o.Message
	case len(o.Approvals) > 0:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, v1alpha1.ReasonApproved, reviewers(o.Approvals)+" approved"
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, v1alpha1.ReasonPolicyAllowed, "allowed by policy "+o.Policy.Name
	}
	return c
}

func reviewers(approvals []v1alpha1.Approval) string {
	names := make([]string, 0, len(approvals))
	for _, a := range approvals {
		names = append(names, strconv.Quote(a.Reviewer))
	}
	return strings.Join(names, ", ")
}

// grantedCondition says whether the subject holds the role at this moment.
func grantedCondition(o *grant.Outcome) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionGranted, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonNotGranted}
	switch {
	case o.State == v1alpha1.StateActive:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, o.Reason, o.Message
	case o.Grant != nil:
		c.Reason, c.Message = o.Reason, o.Message
	}
	return c
}

// setRoleChanged says how the role differs from what was granted, while it does, and since when
// it does so; nil changes nothing.
func setRoleChanged(now time.Time, req v1alpha1.Request, change *policy.RoleChange) {
	if change == nil {
		return
	}
	message := text.Cut(change.Message, maxMessage)
	conditions := &req.RequestStatus().Conditions
	old := meta.FindStatusCondition(*conditions, v1alpha1.ConditionRoleChanged)
	if old != nil && (old.Reason != change.Reason || old.Message != message) {
		meta.RemoveStatusCondition(conditions, old.Type) // else the next change has the time of the first
	}
	setIf(now, req, change.Reason != "", v1alpha1.ConditionRoleChanged, change.Reason, message)
}

// setIf sets a condition of which kstatus asks that it be there only while it is true, or
// removes it.
func setIf(now time.Time, req v1alpha1.Request, is bool, kind, reason, message string) {
	if !is {
		meta.RemoveStatusCondition(&req.RequestStatus().Conditions, kind)
		return
	}
	setCondition(now, req, metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: reason, Message: message})
}

func setCondition(now time.Time, req v1alpha1.Request, c metav1.Condition) {
	c.ObservedGeneration = req.GetGeneration()
	c.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second)) // kept as it was while the status stays
	c.Message = text.Cut(c.Message, maxMessage)
	// What the API server says may differ from try to try; that is nothing new.
	if old := meta.FindStatusCondition(req.RequestStatus().Conditions, c.Type); old != nil && old.Reason == c.Reason && c.Reason == v1alpha1.ReasonBindFailed {
		c.Message = old.Message
	}
	meta.SetStatusCondition(&req.RequestStatus().Conditions, c)
}
