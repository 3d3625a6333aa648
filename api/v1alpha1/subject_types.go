// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Kinds of Subject, as in rbac.authorization.k8s.io/v1.
const (
	UserKind           = "User"
	GroupKind          = "Group"
	ServiceAccountKind = "ServiceAccount"
)

// Kinds of RoleRef, as in rbac.authorization.k8s.io/v1.
const (
	ClusterRoleKind = "ClusterRole"
	RoleKind        = "Role"
)

// The rules of Subject write __namespace__: namespace is a reserved word of CEL below
// Kubernetes 1.32.

// Subject names a user, a group or a ServiceAccount, as rbac.authorization.k8s.io/v1
// does. Names are compared byte by byte; nothing is a wildcard.
//
// Users and groups of Kubernetes itself (system:masters, system:authenticated,
// system:serviceaccounts, …) cannot be named: a grant to one of them would reach
// people whom nobody asked for. A policy may name such groups among its requesters.
//
// +kubebuilder:validation:XValidation:rule="self.kind != 'ServiceAccount' || has(self.__namespace__)",message="a ServiceAccount needs a namespace"
// +kubebuilder:validation:XValidation:rule="self.kind == 'ServiceAccount' || !has(self.__namespace__)",message="only a ServiceAccount has a namespace",fieldPath=".namespace"
// +kubebuilder:validation:XValidation:rule="self.kind != 'ServiceAccount' || size(self.name) == 0 || self.name.matches('^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$')",message="name must be the name of a ServiceAccount",fieldPath=".name"
type Subject struct {
	// kind is User, Group or ServiceAccount.
	// +required
	// +kubebuilder:validation:Enum=User;Group;ServiceAccount
	Kind string `json:"kind"`

	// name of the user, group or ServiceAccount, 1 to 512 printable characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^[\p{L}\p{M}\p{N}\p{P}\p{S} ]*$') && !self.matches(r'[\x{34f}\x{115f}\x{1160}\x{17b4}\x{17b5}\x{180b}-\x{180d}\x{180f}\x{2800}\x{3164}\x{fe00}-\x{fe0e}\x{ffa0}\x{13441}\x{13442}\x{16fe4}\x{1d159}\x{e0100}-\x{e01ef}\x{fe0f}]')`,message="name must be printable: no control, formatting or invisible characters"
	// +kubebuilder:validation:XValidation:rule="self.matches('[^ ]')",message="name must not be blank"
	// +kubebuilder:validation:XValidation:rule="!self.contains('  ')",message="name must not have two spaces in a row: they look like the end of a column"
	Name string `json:"name"`

	// namespace of the ServiceAccount. Required for a ServiceAccount, and never
	// set for a User or Group.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="namespace must be the name of a namespace"
	Namespace string `json:"namespace,omitempty"`
}

// RoleRef names a ClusterRole, or a Role in the namespace of the request.
type RoleRef struct {
	// kind is ClusterRole or Role. A Role is looked up in the namespace that the
	// access is for.
	// +required
	// +kubebuilder:validation:Enum=ClusterRole;Role
	Kind string `json:"kind"`

	// name of the role, exactly. Nothing is a wildcard.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[\\\\p{L}\\\\p{M}\\\\p{N}\\\\p{P}\\\\p{S}]*$') && !self.contains('/') && !self.contains('%') && self != '.' && self != '..'",message="name must be the name of a role: printable, without spaces, / or %"
	// +kubebuilder:validation:XValidation:rule=`!self.matches(r'[\x{34f}\x{115f}\x{1160}\x{17b4}\x{17b5}\x{180b}-\x{180d}\x{180f}\x{2800}\x{3164}\x{fe00}-\x{fe0f}\x{ffa0}\x{13441}\x{13442}\x{16fe4}\x{1d159}\x{e0100}-\x{e01ef}]')`,message="name must be the name of a role: printable, without invisible characters"
	Name string `json:"name"`
}

// Identity is a person or an account as the API server authenticated it.
type Identity struct {
	// username as authenticated, without control characters. A ServiceAccount is
	// system:serviceaccount:<namespace>:<name>.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="!self.matches(r'\\p{Cc}')",message="username has a control character, so it is nobody's name here; have it changed where the account is kept"
	Username string `json:"username"`

	// uid as authenticated; absent where the authenticator gives none.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^\P{Cc}*$`
	UID string `json:"uid,omitempty"`

	// groups as authenticated, at most 1024.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:MaxLength=1024
	// +kubebuilder:validation:items:Pattern=`^\P{Cc}*$`
	Groups []string `json:"groups,omitempty"`

	// extra is what the authenticator says besides, by key, such as claims of a token:
	// all of it, or none. It is none where a part does not fit: at most 32 keys of at most
	// 253 characters, and for each at most 32 values of at most 256. Of who asks; a
	// reviewer has none.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule=`self.all(k, size(k) <= 253 && !k.matches(r'\p{Cc}'))`,message="a key of extra must be at most 253 characters, without control characters"
	Extra map[string]ExtraValue `json:"extra,omitempty"`
}

// ExtraValue is what extra has for one key, in the order in which it was authenticated.
//
// +listType=atomic
// +kubebuilder:validation:MaxItems=32
// +kubebuilder:validation:items:MaxLength=256
// +kubebuilder:validation:items:Pattern=`^\P{Cc}*$`
type ExtraValue []string
