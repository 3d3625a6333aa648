// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Types of conditions. Ready, Reconciling and Stalled are those of kstatus, which
// Argo CD, Flux and kubectl wait read.
const (
	// ConditionReady sums a request or a policy up. Of a request it is True while
	// access is held and after it ended as promised.
	ConditionReady = "Ready"
	// ConditionReconciling is True while the request is on its way, absent otherwise.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True when nothing goes on without somebody's hand, absent
	// otherwise.
	ConditionStalled = "Stalled"
	// ConditionApproved says whether the request was allowed.
	ConditionApproved = "Approved"
	// ConditionGranted says whether the subject holds the role at this moment.
	ConditionGranted = "Granted"
	// ConditionRoleChanged is True while the role allows what it did not allow when
	// access was given, or is not the same object any more; absent otherwise. It stays
	// as it was when access ends.
	ConditionRoleChanged = "RoleChanged"
)

// Reasons of the conditions of an AccessRequest. Ready carries the one that sums
// the request up; Granted has the same once access was given.
const (
	// ReasonPendingApproval: approvals are missing.
	ReasonPendingApproval = "PendingApproval"
	// ReasonScheduled: the request is allowed, and its notBefore has not come.
	ReasonScheduled = "Scheduled"
	// ReasonGranted: the subject holds the role.
	ReasonGranted = "Granted"
	// ReasonExpired: the deadline passed and the access is gone.
	ReasonExpired = "Expired"
	// ReasonReturned: the requester or the grantee gave the access back.
	ReasonReturned = "Returned"
	// ReasonDenied: a policy concerns the request, and none allows it.
	ReasonDenied = "Denied"
	// ReasonNoMatchingPolicy: no policy concerns the request.
	ReasonNoMatchingPolicy = "NoMatchingPolicy"
	// ReasonApprovalTimedOut: the approvals did not come in time.
	ReasonApprovalTimedOut = "ApprovalTimedOut"
	// ReasonRevoked: somebody took the access away.
	ReasonRevoked = "Revoked"
	// ReasonPolicyWithdrawn: the policy that allowed the request is gone, or would
	// not allow it any more.
	ReasonPolicyWithdrawn = "PolicyWithdrawn"
	// ReasonTampered: the RoleBinding was changed by somebody else, and removed.
	ReasonTampered = "Tampered"
	// ReasonRoleChanged: the role came to allow more, or is not the same object any
	// more, and the policy says onRoleChange: Revoke.
	ReasonRoleChanged = "RoleChanged"
	// ReasonBindForbidden: the operator does not hold bind on the role.
	ReasonBindForbidden = "BindForbidden"
	// ReasonBindFailed: the API server refused the RoleBinding for another reason.
	ReasonBindFailed = "BindFailed"
	// ReasonRoleNotFound: the role does not exist.
	ReasonRoleNotFound = "RoleNotFound"
	// ReasonRoleEmpty: the role has no rules.
	ReasonRoleEmpty = "RoleEmpty"
	// ReasonConditionsTooCostly: no policy that was asked allows the request, and not all
	// could be asked, since their conditions cost too much together.
	ReasonConditionsTooCostly = "ConditionsTooCostly"
	// ReasonBindingConflict: a RoleBinding that is not ours has the name of ours.
	ReasonBindingConflict = "BindingConflict"
	// ReasonClockSkew: the clocks of operator and API server are too far apart to
	// promise an end.
	ReasonClockSkew = "ClockSkew"
	// ReasonAdmissionNotEnforced: it is not certain that the admission policies are in
	// force, on which it rests who asks.
	ReasonAdmissionNotEnforced = "AdmissionNotEnforced"
	// ReasonAdmissionGap: the request was made while the admission policies were not in
	// force.
	ReasonAdmissionGap = "AdmissionGap"
	// ReasonNotGranted: Granted is False, because access was never given.
	ReasonNotGranted = "NotGranted"
	// ReasonApproved: Approved is True, by the people that the policy asks for.
	ReasonApproved = "Approved"
	// ReasonPolicyAllowed: Approved is True, by a policy that asks for no approval.
	ReasonPolicyAllowed = "PolicyAllowed"
)

// Reasons of the condition RoleChanged of an AccessRequest, and of Events about its
// role.
const (
	// ReasonRoleGrew: the role allows more than when access was given.
	ReasonRoleGrew = "RoleGrew"
	// ReasonRoleReplaced: the role was deleted, and created again under its name.
	ReasonRoleReplaced = "RoleReplaced"
	// ReasonRoleDeleted: the role does not exist any more.
	ReasonRoleDeleted = "RoleDeleted"
)

// ReasonBindingPinned is that of an Event: access ended, and finalizers keep the
// RoleBinding.
const ReasonBindingPinned = "BindingPinned"

// ReasonDecisionNotCounted is that of an Event, on a decision and on its request: the decision
// changes nothing, and why.
const ReasonDecisionNotCounted = "DecisionNotCounted"

// ReasonRequestDeleted is how records tell the end of access whose request was deleted while it
// was held; no object is left to say so.
const ReasonRequestDeleted = "RequestDeleted"

// Reasons of the condition Ready of an AccessPolicy, besides ReasonRoleNotFound.
const (
	// ReasonValid: the policy is in force.
	ReasonValid = "Valid"
	// ReasonInvalidExpression: a condition does not compile.
	ReasonInvalidExpression = "InvalidExpression"
	// ReasonInvalidSelector: the namespace selector is not valid.
	ReasonInvalidSelector = "InvalidSelector"
	// ReasonDangerousRole: a role would let its holder take over the cluster, and
	// the policy does not say allowDangerousRoles.
	ReasonDangerousRole = "DangerousRole"
)
