// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
)

// knownDigests bounds how many digests of roles are remembered.
const knownDigests = 16384

// roleVersion is one version of one role.
type roleVersion struct {
	uid     types.UID
	version string
}

// roleChange is how the role of a grant differs from what was granted, and whether the
// policy, as it is now, says that access ends by it. What the caches say is enough for
// no change; a change, and what follows from it, is believed only of the API server, since
// a cache may be older than the grant.
func (j judges) roleChange(ctx context.Context, req *v1alpha1.AccessRequest, g v1alpha1.Grant) (policy.RoleChange, error) {
	if g.Role == nil || j.sameRole(ctx, req, g.Role) {
		return policy.RoleChange{}, nil
	}
	ref := req.Spec.RoleRef
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	role, found, err := j.roles(ctx, j.live, req.Namespace)(ref)
	if err != nil {
		return policy.RoleChange{}, fmt.Errorf("reading %s %s: %w", ref.Kind, ref.Name, err)
	}
	change := policy.CompareRole(ref, g.Role, role, found)
	if change.Reason == "" || req.Status.Policy == nil {
		return change, nil
	}
	p, err := named(ctx, j.live, req.Status.Policy.Name)
	change.Revokes = p != nil && policy.RoleChangeRevokes(p.Spec.OnRoleChange)
	return change, err
}

// sameRole says whether the caches show the role as it was granted. Of a Role they hold
// the metadata, and rules are remembered by its version.
func (j judges) sameRole(ctx context.Context, req *v1alpha1.AccessRequest, granted *v1alpha1.GrantedRole) bool {
	ref := req.Spec.RoleRef
	if ref.Kind != v1alpha1.ClusterRoleKind {
		role := &metav1.PartialObjectMetadata{}
		role.SetGroupVersionKind(rbacv1.SchemeGroupVersion.WithKind(ref.Kind))
		if j.cached.Get(ctx, client.ObjectKey{Namespace: req.Namespace, Name: ref.Name}, role) != nil || role.UID != granted.UID {
			return false
		}
		digest, known := j.digests.Get(roleVersion{role.UID, role.ResourceVersion})
		return known && digest == granted.Digest
	}
	role := &rbacv1.ClusterRole{}
	if j.cached.Get(ctx, client.ObjectKey{Name: ref.Name}, role, client.UnsafeDisableDeepCopy) != nil || role.UID != granted.UID {
		return false
	}
	return j.digest(role, role.Rules) == granted.Digest
}

// digest of the rules of a role, worked out once for each version of it.
func (j judges) digest(role metav1.Object, rules []rbacv1.PolicyRule) string {
	version := roleVersion{role.GetUID(), role.GetResourceVersion()}
	if digest, known := j.digests.Get(version); known {
		return digest.(string)
	}
	digest := policy.Role{Rules: rules}.Digest()
	j.digests.Add(version, digest)
	return digest
}
