// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AccessPolicySpec says who may have which roles, where, for how long, and who
// has to agree. Policies only ever add: a request is allowed when one policy has
// no objection to it. A list that is left empty matches nothing.
//
// +kubebuilder:validation:XValidation:rule="!has(self.defaultDuration) || [self.defaultDuration, self.maxDuration].exists(d, !d.matches('^([0-9]{1,3}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$') || size(d) == 0) || duration(self.defaultDuration) <= duration(self.maxDuration)",message="defaultDuration must not be longer than maxDuration",fieldPath=".defaultDuration"
type AccessPolicySpec struct {
	// requesters are those who may ask, 1 to 64. A person matches by user name or
	// by a group that the API server authenticated. A group may be one of Kubernetes
	// or of a provider, such as system:authenticated, who are all that log in.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:XValidation:rule="self.kind == 'ServiceAccount' || !self.name.startsWith('system:') || (self.kind == 'Group' && self.name != 'system:unauthenticated')",message="a User must not begin with system:, nor must a Group be system:unauthenticated; name a ServiceAccount by kind, name and namespace",fieldPath=".name"
	Requesters []Subject `json:"requesters"`

	// grantees are those for whom the requesters may ask besides themselves, at
	// most 64, such as the people for whom a GitOps controller asks. Each is
	// matched exactly: a Group here allows a grant to that group and says nothing
	// of its members. Default: nobody.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:XValidation:rule="self.kind == 'ServiceAccount' || !self.name.startsWith('system:')",message="a User or Group must not begin with system:; name a ServiceAccount by kind, name and namespace",fieldPath=".name"
	Grantees []Subject `json:"grantees,omitempty"`

	// roles that may be asked for, 1 to 16. Whoever writes the policy must hold
	// the verb bind on each.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Roles []RoleRef `json:"roles"`

	// namespaces in which access may be asked for. An empty one matches nothing.
	// +required
	Namespaces NamespaceMatch `json:"namespaces"`

	// maxDuration is the longest that access may last, counted from the moment it
	// is granted, such as 4h or 1h30m; 10s to 24h. The operator may be run with a
	// lower ceiling.
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self != '' && self.matches('^([0-9]{1,3}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$') && duration(self) >= duration('10s') && duration(self) <= duration('24h')",message="maxDuration must be between 10s and 24h, in whole hours, minutes and seconds, such as 1h30m"
	MaxDuration metav1.Duration `json:"maxDuration"`

	// defaultDuration is how long access lasts when the request does not say, 10s
	// to maxDuration. Defaults to maxDuration.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self != '' && self.matches('^([0-9]{1,3}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$') && duration(self) >= duration('10s') && duration(self) <= duration('24h')",message="defaultDuration must be between 10s and 24h, in whole hours, minutes and seconds, such as 1h30m"
	DefaultDuration *metav1.Duration `json:"defaultDuration,omitempty"`

	// conditions in CEL that must all be true, at most 16. An expression that
	// fails or costs too much counts as false.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Conditions []PolicyCondition `json:"conditions,omitempty"`

	// approvals that are needed, at most 8. All must be met, each by different
	// people. Default: none, and access is granted at once.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Approvals []ApprovalRule `json:"approvals,omitempty"`

	// approvalTimeout is how long a request may wait for approval, counted from
	// its creation, 10s to 168h. A request that is not approved by then is Denied
	// with reason ApprovalTimedOut. Defaults to 1h.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:default="1h"
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self != '' && self.matches('^([0-9]{1,3}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$') && duration(self) >= duration('10s') && duration(self) <= duration('168h')",message="approvalTimeout must be between 10s and 168h, in whole hours, minutes and seconds, such as 1h30m"
	ApprovalTimeout *metav1.Duration `json:"approvalTimeout,omitempty"`

	// revokers are those who may deny and revoke besides the approvers, each alone, at
	// most 64. They never approve. A ServiceAccount counts only when it is named here
	// itself. Default: nobody.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:XValidation:rule="self.kind == 'ServiceAccount' || !self.name.startsWith('system:')",message="a User or Group must not begin with system:; name a ServiceAccount by kind, name and namespace",fieldPath=".name"
	Revokers []Subject `json:"revokers,omitempty"`

	// allowSelfApproval lets the requester and the grantee count as approvers.
	// Defaults to false.
	// +optional
	AllowSelfApproval bool `json:"allowSelfApproval,omitempty"`

	// uidIsShared says that one UID does not mean one person here, as where a provider
	// gives all who take on a role the same one. Otherwise two names with one UID are one
	// person: they count once, and neither approves what the other asks for.
	// Defaults to false.
	// +optional
	UIDIsShared bool `json:"uidIsShared,omitempty"`

	// allowDangerousRoles lets the policy offer roles with which the holder could
	// take over the cluster: cluster-admin, system:*, wildcards, escalate, bind,
	// impersonate. Defaults to false.
	// +optional
	AllowDangerousRoles bool `json:"allowDangerousRoles,omitempty"`

	// onRoleChange is what happens to access that is held when its role comes to
	// allow more than at the time of the grant, is deleted, or is deleted and created
	// again. Report says so on the request; Revoke ends the access. It counts as it is
	// when the change is seen. A role that comes to allow less changes nothing.
	// Defaults to Report.
	// +optional
	// +kubebuilder:default=Report
	OnRoleChange RoleChangeAction `json:"onRoleChange,omitempty"`

	// whileHeld is what a holder may make in the namespace while access lasts. Strict:
	// nothing that could outlast it, such as RoleBindings, Roles, ServiceAccounts and
	// tokens. NoNewPower: ServiceAccounts too, if no RoleBinding there and no
	// ClusterRoleBinding names them. It counts as it is when access is given.
	// Defaults to Strict.
	// +optional
	// +kubebuilder:default=Strict
	WhileHeld WhileHeld `json:"whileHeld,omitempty"`
}

// WhileHeld is what a holder may make in the namespace while access lasts.
//
// +kubebuilder:validation:Enum=Strict;NoNewPower
type WhileHeld string

const (
	// WhileHeldStrict: nothing that could outlast the access.
	WhileHeldStrict WhileHeld = "Strict"
	// WhileHeldNoNewPower: ServiceAccounts too, if no RoleBinding of the namespace and no
	// ClusterRoleBinding names them.
	WhileHeldNoNewPower WhileHeld = "NoNewPower"
)

// RoleChangeAction is what happens to access whose role changed.
//
// +kubebuilder:validation:Enum=Report;Revoke
type RoleChangeAction string

const (
	// RoleChangeReport: the condition RoleChanged and an Event say what is new;
	// access goes on.
	RoleChangeReport RoleChangeAction = "Report"
	// RoleChangeRevoke: access ends.
	RoleChangeRevoke RoleChangeAction = "Revoke"
)

// NamespaceMatch selects namespaces by name, by label, or both; a namespace that
// either of them selects is matched. Nothing set matches nothing.
type NamespaceMatch struct {
	// names of namespaces, exactly, at most 256. Nothing is a wildcard.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="a name must be that of one namespace: a-z, 0-9 and -; nothing is a wildcard"
	Names []string `json:"names,omitempty"`

	// selector over the labels of namespaces. Whoever may label a namespace
	// decides with it. An empty selector is refused: it would read as everything.
	// +optional
	// +kubebuilder:validation:XValidation:rule="(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",message="selector must not be empty; leave it out, or name the labels"
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// PolicyCondition is one CEL expression that has to be true.
type PolicyCondition struct {
	// expression in CEL that yields a bool, at most 4096 characters. It sees
	// request (metadata and spec of the AccessRequest), policy (name),
	// namespaceObject (metadata) and now (timestamp), and has the functions that
	// Kubernetes offers in a ValidatingAdmissionPolicy, authorizer apart.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Expression string `json:"expression"`

	// message that the requester reads when the expression is false, at most 512
	// printable characters. Defaults to the expression.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule=`!self.matches(r'[^\p{L}\p{M}\p{N}\p{P}\p{S}\p{Zs}\x{200c}\x{200d}\n]|\n(?s:.)|[\x{34f}\x{115f}\x{1160}\x{17b4}\x{17b5}\x{180b}-\x{180d}\x{180f}\x{2800}\x{3164}\x{fe00}-\x{fe0e}\x{ffa0}\x{13441}\x{13442}\x{16fe4}\x{1d159}\x{e0100}-\x{e01ef}]|(^|[^\p{S}\p{N}\p{P}])\x{fe0f}|(^|[^\p{L}\p{M}\p{S}])[\x{200c}\x{200d}]|[\x{200c}\x{200d}]([^\p{L}\p{M}\p{S}]|$)')`,message="message must be one line of printable characters"
	Message string `json:"message,omitempty"`
}

// ApprovalRule is a number of people out of a set who have to agree.
type ApprovalRule struct {
	// from are those whose approval counts, 1 to 16. A ServiceAccount counts only
	// when it is named here itself.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:XValidation:rule="self.kind == 'ServiceAccount' || !self.name.startsWith('system:')",message="a User or Group must not begin with system:; name a ServiceAccount by kind, name and namespace",fieldPath=".name"
	From []Subject `json:"from"`

	// count is how many different people have to approve, 1 to 8.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=8
	Count int32 `json:"count"`
}

// AccessPolicyStatus is what the operator makes of the policy.
type AccessPolicyStatus struct {
	// observedGeneration is the generation of spec that the conditions speak of;
	// -1 until the operator has looked at the policy.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Ready and, when it needs somebody's hand, Stalled.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// roles that this policy offers, in one line, such as "view, edit, role/migrate":
	// of a list kubectl prints the first member only.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Roles string `json:"roles,omitempty"`

	// risks that come with the requesters and the roles of this policy, and with other
	// policies by which somebody gets past it, in words, for those who approve: the worst
	// first, and a count of those that there is no room for.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=512
	Risks []string `json:"risks,omitempty"`
}

// AccessPolicy says who may have which roles, where and for how long.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=apol,categories=lapse
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Max",type=string,JSONPath=`.spec.maxDuration`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Roles",type=string,JSONPath=`.status.roles`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
type AccessPolicy struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is who may have what.
	// +required
	Spec AccessPolicySpec `json:"spec"`

	// status is what the operator makes of it.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status AccessPolicyStatus `json:"status,omitempty"`
}

// AccessPolicyList is a list of AccessPolicy.
//
// +kubebuilder:object:root=true
type AccessPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AccessPolicy `json:"items"`
}
