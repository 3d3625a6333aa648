// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// AccessRequestSpec says who wants which role, for how long and why. It never
// changes: what was allowed or approved is exactly what was asked.
//
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="spec is immutable; create a new AccessRequest"
// +kubebuilder:validation:XValidation:rule="has(self.requester)",message="requester is missing: write username, uid and groups as kubectl auth whoami -o yaml prints them, or ask with kubectl lapse request; with config/admission/stamps (Kubernetes 1.36 or newer) the API server fills it in",fieldPath=".requester",reason=FieldValueRequired
// +kubebuilder:validation:XValidation:rule="oldSelf.hasValue() || has(self.subject)",optionalOldSelf=true,message="subject is missing: write who gets the access, such as {kind: User, name: alice}, or ask with kubectl lapse request; with config/admission/stamps (Kubernetes 1.36 or newer) the API server fills in the requester",fieldPath=".subject",reason=FieldValueRequired
// +kubebuilder:validation:XValidation:rule="!has(self.notBefore) || !has(self.notAfter) || self.notBefore < self.notAfter",message="notAfter must be later than notBefore",fieldPath=".notAfter"
// +kubebuilder:validation:XValidation:rule="has(self.notAfter) || !has(self.subject) || !has(self.requester) || (self.subject.kind == 'User' && self.subject.name == self.requester.username) || (self.subject.kind == 'ServiceAccount' && has(self.subject.__namespace__) && self.requester.username.split(':') == ['system', 'serviceaccount', self.subject.__namespace__, self.subject.name])",message="notAfter is required when the subject is not the requester: without it, applying the manifest again would renew the access",fieldPath=".notAfter",reason=FieldValueRequired
type AccessRequestSpec struct {
	// roleRef is the role that is wanted, in the namespace of this request.
	// +required
	RoleRef RoleRef `json:"roleRef"`

	// subject is who gets the access. Where the API server stamps it, it defaults to the
	// requester; elsewhere it is required. A policy must list anybody else among its grantees.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.kind == 'ServiceAccount' || !self.name.startsWith('system:')",message="a User or Group must not begin with system:; name a ServiceAccount by kind, name and namespace",fieldPath=".name"
	Subject *Subject `json:"subject,omitempty"`

	// duration is how long access lasts, counted from the moment it is granted,
	// such as 1h30m; 10s to 24h. A policy may allow less, and nothing extends it.
	// Defaults to the policy's defaultDuration.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self != '' && self.matches('^([0-9]{1,3}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$') && duration(self) >= duration('10s') && duration(self) <= duration('24h')",message="duration must be between 10s and 24h, in whole hours, minutes and seconds, such as 1h30m"
	Duration *metav1.Duration `json:"duration,omitempty"`

	// notBefore is the moment before which nothing is granted, in UTC and whole
	// seconds, such as 2026-12-01T18:00:00Z. Default: at once.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^2[0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$`
	NotBefore *metav1.Time `json:"notBefore,omitempty"`

	// notAfter is the moment at which access ends at the latest, in UTC and whole
	// seconds, such as 2026-12-01T22:00:00Z; at most 30 days and the longest access that
	// the policy allows after the request was made. Required when the subject is not the
	// requester. Give one in a manifest that lies in Git: once it has passed,
	// applying the manifest again grants nothing.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^2[0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$`
	NotAfter *metav1.Time `json:"notAfter,omitempty"`

	// reason why the access is needed, one line of 1 to 1024 printable characters.
	// It is shown to those who approve and kept for those who audit; never put a
	// secret into it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule=`!self.matches(r'[^\p{L}\p{M}\p{N}\p{P}\p{S}\p{Zs}\x{200c}\x{200d}\n]|\n(?s:.)|[\x{34f}\x{115f}\x{1160}\x{17b4}\x{17b5}\x{180b}-\x{180d}\x{180f}\x{2800}\x{3164}\x{fe00}-\x{fe0e}\x{ffa0}\x{13441}\x{13442}\x{16fe4}\x{1d159}\x{e0100}-\x{e01ef}]|(^|[^\p{S}\p{N}\p{P}])\x{fe0f}|(^|[^\p{L}\p{M}\p{S}])[\x{200c}\x{200d}]|[\x{200c}\x{200d}]([^\p{L}\p{M}\p{S}]|$)')`,message="reason must be one line of printable characters and not blank"
	// +kubebuilder:validation:XValidation:rule=`self == '' || self.matches(r'[\p{L}\p{N}\p{P}\p{S}]')`,message="reason must be one line of printable characters and not blank"
	Reason string `json:"reason"`

	// policyName is the only policy that may allow this request. Default: any.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$')",message="policyName must be the name of an AccessPolicy"
	PolicyName string `json:"policyName,omitempty"`

	// requester is who asked. Leave it out where the API server stamps it
	// (config/admission/stamps); elsewhere name yourself. Anybody else's name is refused.
	// +optional
	Requester *Identity `json:"requester,omitempty"`
}

// RequestState is the reason of the condition Ready, grouped.
// +kubebuilder:validation:Enum=Pending;Scheduled;Active;Expired;Returned;Denied;Revoked;Failed
type RequestState string

const (
	// StatePending: the request waits for approval.
	StatePending RequestState = "Pending"
	// StateScheduled: the request is allowed and waits for its notBefore.
	StateScheduled RequestState = "Scheduled"
	// StateActive: the subject holds the role.
	StateActive RequestState = "Active"
	// StateExpired: the access ended on time. Final.
	StateExpired RequestState = "Expired"
	// StateReturned: the access was given back early. Final.
	StateReturned RequestState = "Returned"
	// StateDenied: the request was refused, or not approved in time. Final.
	StateDenied RequestState = "Denied"
	// StateRevoked: the access was taken away early. Final.
	StateRevoked RequestState = "Revoked"
	// StateFailed: the request is allowed, but the role cannot be bound yet. It is
	// tried again.
	StateFailed RequestState = "Failed"
)

// Final says whether a request in this state never changes its state again.
func (s RequestState) Final() bool {
	switch s {
	case StateExpired, StateReturned, StateDenied, StateRevoked:
		return true
	case StatePending, StateScheduled, StateActive, StateFailed:
		return false
	default:
		return false
	}
}

// AccessRequestStatus is what became of the request. Only the operator writes it.
type AccessRequestStatus struct {
	// observedGeneration is the generation of spec that the conditions speak of;
	// -1 until the operator has looked at the request.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// state is the reason of the condition Ready, grouped; a selectable field.
	// +optional
	State RequestState `json:"state,omitempty"`

	// conditions are Ready, Approved and Granted, and Reconciling, Stalled and
	// RoleChanged while they are true.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// policy that allowed the request, or that has to be satisfied yet.
	// +optional
	Policy *PolicyReference `json:"policy,omitempty"`

	// approvals that counted, at most 64.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Approvals []Approval `json:"approvals,omitempty"`

	// grant is the access that was given; absent when none was.
	// +optional
	Grant *Grant `json:"grant,omitempty"`
}

// PolicyReference names one generation of one policy.
type PolicyReference struct {
	// name of the AccessPolicy.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// uid of the AccessPolicy.
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	UID types.UID `json:"uid"`

	// generation of its spec.
	// +required
	// +kubebuilder:validation:Minimum=1
	Generation int64 `json:"generation"`
}

// Approval is one person's yes that counted.
type Approval struct {
	// decision is the name of the AccessDecision.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Decision string `json:"decision"`

	// reviewer is the name of the user who approved.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Reviewer string `json:"reviewer"`

	// time at which the approval was given.
	// +required
	Time metav1.Time `json:"time"`
}

// Grant is access that was given.
type Grant struct {
	// binding is the name of the RoleBinding, in the namespace of the request. The
	// API server's audit log names it with every call that it allowed.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Binding string `json:"binding"`

	// grantedAt is when access began.
	// +required
	GrantedAt metav1.Time `json:"grantedAt"`

	// expiresAt is when access ends: grantedAt and duration, or notAfter if that
	// is earlier. It never changes.
	// +required
	ExpiresAt metav1.Time `json:"expiresAt"`

	// role is what the role was when access was given. Absent in grants of versions
	// that did not keep it; such a grant is not compared with its role.
	// +optional
	Role *GrantedRole `json:"role,omitempty"`

	// endedAt is when the operator saw that access had ended.
	// +optional
	EndedAt *metav1.Time `json:"endedAt,omitempty"`

	// endReason is why it ended, as in the condition Ready.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	EndReason string `json:"endReason,omitempty"`

	// endedBy is who ended it, where that was a person.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	EndedBy string `json:"endedBy,omitempty"`
}

// GrantedRole is a role as it was at one moment, by its effective rules: those of an
// aggregated ClusterRole included. The order of rules, and of words in them, is of no
// account.
type GrantedRole struct {
	// uid of the Role or ClusterRole. One that is deleted and created again has
	// another.
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	UID types.UID `json:"uid"`

	// digest of the rules: SHA-256 of their JSON, in hexadecimal.
	// +required
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	Digest string `json:"digest"`

	// rules are the JSON of the rules, compressed with gzip, at most 8192 bytes. Absent
	// when they would be larger: then any change of the digest counts as more.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=10924
	Rules []byte `json:"rules,omitempty"`
}

// AccessRequest asks for a role in its namespace, for a time and a reason.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=areq,categories=lapse
// +kubebuilder:selectablefield:JSONPath=`.status.state`
// +kubebuilder:selectablefield:JSONPath=`.spec.subject.name`
// +kubebuilder:selectablefield:JSONPath=`.spec.roleRef.name`
// +kubebuilder:printcolumn:name="Subject",type=string,JSONPath=`.spec.subject.name`
// +kubebuilder:printcolumn:name="Role",type=string,JSONPath=`.spec.roleRef.name`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.grant['endedAt','expiresAt']`,description="When access ends; when it did end, where it is over."
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,priority=1
// +kubebuilder:printcolumn:name="Began",type=string,JSONPath=`.status.grant.grantedAt`,priority=1
// +kubebuilder:printcolumn:name="Policy",type=string,JSONPath=`.status.policy.name`,priority=1
// +kubebuilder:printcolumn:name="Approved-By",type=string,JSONPath=`.status.conditions[?(@.type=="Approved")].message`,priority=1
// +kubebuilder:printcolumn:name="Binding",type=string,JSONPath=`.status.grant.binding`,priority=1
type AccessRequest struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is standard object metadata. Its namespace is where the access is
	// granted.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is asked for.
	// +required
	Spec AccessRequestSpec `json:"spec"`

	// status is what became of it.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status AccessRequestStatus `json:"status,omitempty"`
}

// AccessRequestList is a list of AccessRequest.
//
// +kubebuilder:object:root=true
type AccessRequestList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AccessRequest `json:"items"`
}
