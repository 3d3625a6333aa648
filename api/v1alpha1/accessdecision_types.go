// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Verdict is what somebody decides of a request.
// +kubebuilder:validation:Enum=Approve;Deny;Revoke
type Verdict string

const (
	// VerdictApprove: access may be given.
	VerdictApprove Verdict = "Approve"
	// VerdictDeny: access must not be given, whoever approves.
	VerdictDeny Verdict = "Deny"
	// VerdictRevoke: access ends, or is not given any more. By the requester or the
	// grantee, it gives the access back.
	VerdictRevoke Verdict = "Revoke"
)

// AccessDecisionSpec says what somebody decides of one request. It never changes.
//
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="spec is immutable; create a new AccessDecision"
// +kubebuilder:validation:XValidation:rule="has(self.reviewer)",message="reviewer is missing: write username, uid and groups as kubectl auth whoami -o yaml prints them, or decide with kubectl lapse approve, deny or revoke; with config/admission/stamps (Kubernetes 1.36 or newer) the API server fills it in",fieldPath=".reviewer",reason=FieldValueRequired
type AccessDecisionSpec struct {
	// requestRef is the AccessRequest, in the namespace of this decision.
	// +required
	RequestRef RequestReference `json:"requestRef"`

	// verdict is Approve, Deny or Revoke. Deny and Revoke are for good.
	// +required
	Verdict Verdict `json:"verdict"`

	// comment on the decision, one line of at most 1024 printable characters.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule=`!self.matches(r'[^\p{L}\p{M}\p{N}\p{P}\p{S}\p{Zs}\x{200c}\x{200d}\n]|\n(?s:.)|[\x{34f}\x{115f}\x{1160}\x{17b4}\x{17b5}\x{180b}-\x{180d}\x{180f}\x{2800}\x{3164}\x{fe00}-\x{fe0e}\x{ffa0}\x{13441}\x{13442}\x{16fe4}\x{1d159}\x{e0100}-\x{e01ef}]|(^|[^\p{S}\p{N}\p{P}])\x{fe0f}|(^|[^\p{L}\p{M}\p{S}])[\x{200c}\x{200d}]|[\x{200c}\x{200d}]([^\p{L}\p{M}\p{S}]|$)')`,message="comment must be one line of printable characters"
	Comment string `json:"comment,omitempty"`

	// reviewer is who decided. Leave it out where the API server stamps it
	// (config/admission/stamps); elsewhere name yourself. Anybody else's name is refused.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.extra)",message="extra is kept of who asks alone; leave it out",fieldPath=".extra"
	Reviewer *Identity `json:"reviewer,omitempty"`
}

// RequestReference names one AccessRequest and no other that has its name later.
type RequestReference struct {
	// name of the AccessRequest.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// uid of the AccessRequest. A decision counts for this one alone, so that it
	// never carries over to a request that is created again.
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	UID types.UID `json:"uid"`
}

// AccessDecision is somebody's word on an AccessRequest. It is owned by the request,
// and goes with it.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=adec,categories=lapse
// +kubebuilder:selectablefield:JSONPath=`.spec.requestRef.uid`
// +kubebuilder:selectablefield:JSONPath=`.spec.requestRef.name`
// +kubebuilder:printcolumn:name="Request",type=string,JSONPath=`.spec.requestRef.name`
// +kubebuilder:printcolumn:name="Verdict",type=string,JSONPath=`.spec.verdict`
// +kubebuilder:printcolumn:name="Reviewer",type=string,JSONPath=`.spec.reviewer.username`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Comment",type=string,JSONPath=`.spec.comment`,priority=1
type AccessDecision struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what was decided.
	// +required
	Spec AccessDecisionSpec `json:"spec"`
}

// AccessDecisionList is a list of AccessDecision.
//
// +kubebuilder:object:root=true
type AccessDecisionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AccessDecision `json:"items"`
}
