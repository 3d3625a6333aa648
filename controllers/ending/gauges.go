// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package ending

import (
	"context"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/internal/binding"
)

// count counts managed bindings in the cache.
func (r *reconciler) count(which func(time.Time, *rbacv1.RoleBinding) bool) func() float64 {
	return func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		list := &rbacv1.RoleBindingList{}
		if err := r.client.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return -1 // cannot be told; 0 would look healthy
		}
		now, n := r.clock.Now(), 0.0
		for i := range list.Items {
			if binding.Managed(&list.Items[i]) && which(now, &list.Items[i]) {
				n++
			}
		}
		return n
	}
}

func anyBinding(time.Time, *rbacv1.RoleBinding) bool { return true }

func (r *reconciler) overdue(now time.Time, b *rbacv1.RoleBinding) bool {
	return !now.Before(r.deadline(b)) && len(b.Subjects) > 0
}

// pinned says whether finalizers keep a binding that ought to be gone.
func (r *reconciler) pinned(now time.Time, b *rbacv1.RoleBinding) bool {
	return len(b.Finalizers) > 0 && (b.DeletionTimestamp != nil || !now.Before(r.deadline(b)))
}
