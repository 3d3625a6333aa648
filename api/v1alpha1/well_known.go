// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Labels and annotations of managed RoleBindings. Labels carry nothing that a
// user chose.
const (
	// BindingPrefix begins the name of every managed RoleBinding. No other
	// RoleBinding should have it.
	BindingPrefix = "lapse-"

	// ManagedByLabel has the value ManagedBy on every managed
	// RoleBinding.
	ManagedByLabel = "app.kubernetes.io/managed-by"
	// ManagedBy is the value of ManagedByLabel.
	ManagedBy = "lapse"
	// RequestUIDLabel is the UID of the AccessRequest.
	RequestUIDLabel = "lapse.dev/request-uid"
	// WhileHeldLabel is whileHeld of the AccessPolicy when access was given. Without it,
	// access is Strict.
	WhileHeldLabel = "lapse.dev/while-held"

	// ExpiresAtAnnotation is when access ends: RFC 3339, UTC, whole seconds. All
	// that ends access on time reads this and nothing else.
	ExpiresAtAnnotation = "lapse.dev/expires-at"
	// CreateByAnnotation is the moment by which the RoleBinding has to be created:
	// RFC 3339, UTC, whole seconds.
	CreateByAnnotation = "lapse.dev/create-by"
	// RequestAnnotation is the name of the AccessRequest.
	RequestAnnotation = "lapse.dev/request"
	// PolicyAnnotation is the name of the AccessPolicy that allowed it.
	PolicyAnnotation = "lapse.dev/policy"
)

// NoNewPowerLabel with the value "true" has kube-apiserver refuse a new ServiceAccount that
// a RoleBinding of its namespace or a ClusterRoleBinding names.
const NoNewPowerLabel = "lapse.dev/no-new-power"

// BindableLabel with the value "true" on a ClusterRole adds its rules to what the
// operator may do. It is meant for the verb bind on named roles.
const BindableLabel = "lapse.dev/bindable"
