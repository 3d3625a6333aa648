// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// MaxSkew is how far the clocks of operator and API server may be apart for a
// grant to be made: beyond it no end can be promised.
const MaxSkew = 30 * time.Second

// Managed says whether a RoleBinding is one of Lapse's, by its own metadata.
func Managed(b metav1.Object) bool {
	labels := b.GetLabels()
	return strings.HasPrefix(b.GetName(), v1alpha1.BindingPrefix) &&
		labels[v1alpha1.ManagedByLabel] == v1alpha1.ManagedBy && labels[v1alpha1.RequestUIDLabel] != ""
}

// Misnamed says whether a managed binding has another name than the binding of the
// request that it says it is of: that request has one grant, and this is none.
func Misnamed(b metav1.Object) bool {
	req := &v1alpha1.AccessRequest{}
	req.Name, req.UID = b.GetAnnotations()[v1alpha1.RequestAnnotation], types.UID(b.GetLabels()[v1alpha1.RequestUIDLabel])
	return b.GetName() != BindingName(req)
}

// Deadline is when a managed binding has to be gone. One whose expiry cannot be
// read ends at the ceiling, counted from its creation; an expiry beyond the
// ceiling counts as the ceiling, but for what the clocks may be apart.
func Deadline(b metav1.Object, ceiling time.Duration) time.Time {
	latest := b.GetCreationTimestamp().Add(ceiling)
	expiresAt, ok := parseTimestamp(b.GetAnnotations()[v1alpha1.ExpiresAtAnnotation])
	if !ok || expiresAt.After(latest.Add(MaxSkew)) {
		return latest
	}
	return expiresAt
}

func parseTimestamp(s string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339, s)
	return t, err == nil
}
