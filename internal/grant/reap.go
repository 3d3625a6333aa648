// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"regexp"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
)

// ReapSlack is how long after its deadline a binding is left to the operator, so
// that a reaper ends only what the operator does not.
const ReapSlack = 30 * time.Second

// bindingNamePattern is the form of BindingName.
var bindingNamePattern = regexp.MustCompile(`^lapse-.+-[0-9a-f]{8}$`)

// ReapAt is when a reaper deletes a binding that the operator has not ended; false if
// it never does, because the binding is not one of Lapse's or nobody holds a role by
// it. It goes by the name, which nobody can change, and by the annotation; labels and
// owners may have been taken off. One without a readable expiry, or with one beyond
// the ceiling, goes at the ceiling.
//
// A binding without subjects stays: it gives nothing, and may be all that tells the
// operator that its request was granted once and must not be again.
func ReapAt(b *rbacv1.RoleBinding, ceiling time.Duration) (time.Time, bool) {
	if len(b.Subjects) == 0 || !Managed(b) && !bindingNamePattern.MatchString(b.Name) {
		return time.Time{}, false
	}
	return Deadline(b, ceiling).Add(ReapSlack), true
}
