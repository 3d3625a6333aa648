// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Request is what each kind of request is. What is judged and recorded of a request is
// written once over it.
//
// +kubebuilder:object:generate=false
type Request interface {
	metav1.Object
	runtime.Object
	// RequestKind is the kind, such as AccessRequest.
	RequestKind() string
	// RequestSpec is what is asked for; it is never nil.
	RequestSpec() *AccessRequestSpec
	// RequestStatus is what became of it; it is never nil.
	RequestStatus() *AccessRequestStatus
}

var _ Request = &AccessRequest{}

// RequestKind is AccessRequest.
func (r *AccessRequest) RequestKind() string { return "AccessRequest" }

// RequestSpec is the spec.
func (r *AccessRequest) RequestSpec() *AccessRequestSpec { return &r.Spec }

// RequestStatus is the status.
func (r *AccessRequest) RequestStatus() *AccessRequestStatus { return &r.Status }
