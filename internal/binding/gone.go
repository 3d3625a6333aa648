// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package binding

import (
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Gone says whether an answer shows that a RoleBinding is not there. Of an update by somebody
// who may not bind the role, the API server says "not found" as well if it is the role that is
// not there (ConfirmNoEscalation in kube-apiserver); the binding then stays, and all its subjects.
func Gone(err error) bool {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) {
		return false
	}
	details := status.Status().Details
	return details != nil && details.Kind == "rolebindings"
}
