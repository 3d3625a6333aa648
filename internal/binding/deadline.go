// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package binding

import (
	"slices"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/text"
)

const (
	// MaxSkew is how far the clocks of operator and API server may be apart for a grant to
	// be made: beyond it no end can be promised.
	MaxSkew = 30 * time.Second
	// ReapSlack is how long after its deadline a binding is left to the operator, so that
	// a reaper ends only what the operator does not.
	ReapSlack = 30 * time.Second
)

// Deadline is when a managed binding has to be gone. One whose expiry cannot be read ends
// at the ceiling, counted from its creation; an expiry beyond the ceiling counts as the
// ceiling, but for what the clocks may be apart.
func Deadline(b metav1.Object, ceiling time.Duration) time.Time {
	latest := b.GetCreationTimestamp().Add(ceiling)
	expiresAt, err := text.ParseTime(b.GetAnnotations()[v1alpha1.ExpiresAtAnnotation])
	if err != nil || expiresAt.After(latest.Add(MaxSkew)) {
		return latest
	}
	return expiresAt
}

// Gives says whether a binding is one of Lapse's by which somebody holds a role. It goes by
// the name, which nobody can change, and by any mark of Lapse that is left: the others may
// have been taken off, and a stranger's binding may have such a name.
func Gives(b *rbacv1.RoleBinding) bool {
	return len(b.Subjects) > 0 && (Managed(b) || namePattern.MatchString(b.Name) && marked(b))
}

// ReapAt is when a reaper deletes a binding that the operator has not ended; false if it
// never does, because the binding gives nothing by Lapse. One without a readable expiry, or
// with one beyond the ceiling, goes at the ceiling.
//
// A binding without subjects stays: it gives nothing, and may be all that tells the
// operator that its request was granted once and must not be again.
func ReapAt(b *rbacv1.RoleBinding, ceiling time.Duration) (time.Time, bool) {
	if !Gives(b) {
		return time.Time{}, false
	}
	return Deadline(b, ceiling).Add(ReapSlack), true
}

// marked says whether a binding has any mark of Lapse besides its name.
func marked(b metav1.Object) bool {
	ofGroup := func(s string) bool { return strings.HasPrefix(s, v1alpha1.GroupVersion.Group+"/") }
	for key, value := range b.GetLabels() {
		if ofGroup(key) || key == v1alpha1.ManagedByLabel && value == v1alpha1.ManagedBy {
			return true
		}
	}
	for key := range b.GetAnnotations() {
		if ofGroup(key) {
			return true
		}
	}
	return slices.ContainsFunc(b.GetOwnerReferences(), func(o metav1.OwnerReference) bool {
		return o.Kind == RequestGVK.Kind && ofGroup(o.APIVersion)
	})
}
