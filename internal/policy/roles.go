// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// RoleLookup finds a role; a Role is looked up where the access is asked for. found is
// false when there is none; an error means that it could not be told.
type RoleLookup func(ref v1alpha1.RoleRef) (role Role, found bool, err error)

// roleBook looks each role up at most once.
type roleBook struct {
	lookup RoleLookup
	pages  map[v1alpha1.RoleRef]rolePage
}

// rolePage is what is known of one role.
type rolePage struct {
	Role
	found   bool
	dangers []string
}

func (b *roleBook) find(ref v1alpha1.RoleRef) (rolePage, error) {
	if page, known := b.pages[ref]; known {
		return page, nil
	}
	if b.lookup == nil {
		return rolePage{}, errors.New("roles cannot be looked up")
	}
	role, found, err := b.lookup(ref)
	if err != nil {
		return rolePage{}, fmt.Errorf("looking up %s: %w", roleText(ref), err)
	}
	page := rolePage{Role: role, found: found, dangers: Dangers(ref, role.Rules)}
	if b.pages == nil {
		b.pages = map[v1alpha1.RoleRef]rolePage{}
	}
	b.pages[ref] = page
	return page, nil
}

// offered looks at the roles that a policy needs for a request: its ClusterRoles, and
// the Role that is asked for. missing has the requested role first.
func (b *roleBook) offered(c *Compiled, requested v1alpha1.RoleRef) (missing []v1alpha1.RoleRef, objections []string, err error) {
	for _, ref := range c.roles {
		if ref.Kind != v1alpha1.ClusterRoleKind && ref != requested {
			continue
		}
		role, err := b.find(ref)
		switch {
		case err != nil:
			return nil, nil, err
		case !c.allowDangerous && len(role.dangers) > 0:
			objections = append(objections, dangerObjection(ref, role.dangers))
		case role.found:
		case ref == requested:
			missing = append([]v1alpha1.RoleRef{ref}, missing...)
		default:
			missing = append(missing, ref)
		}
	}
	return missing, objections, nil
}

// maxDangers bounds the dangers of a role that an objection names.
const maxDangers = 3

func dangerText(ref v1alpha1.RoleRef, dangers []string) string {
	named := dangers
	if len(named) > maxDangers {
		named = append(named[:maxDangers:maxDangers], fmt.Sprintf("and %d more", len(dangers)-maxDangers))
	}
	return roleText(ref) + " is dangerous: " + strings.Join(named, ", ")
}

func dangerObjection(ref v1alpha1.RoleRef, dangers []string) string {
	return dangerText(ref, dangers) + "; the policy does not say allowDangerousRoles"
}
