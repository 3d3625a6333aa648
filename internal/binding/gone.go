// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package binding

import (
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Gone says whether the API server answered a read, past any cache, that there is no such
// RoleBinding. An answer to a write is less certain: of an update by somebody who may not bind the
// role, the API server says "not found" if the role is not there (ConfirmNoEscalation), and a
// webhook may say it of anything. What is no answer of kube-apiserver, such as the page of a proxy,
// client-go marks as unexpected.
func Gone(err error) bool { return NotFound(err, "rolebindings") }

// NotFound is Gone of another resource.
func NotFound(err error, resource string) bool {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) {
		return false
	}
	details := status.Status().Details
	return details != nil && details.Kind == resource && !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}
