// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/lru"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/grant"
)

// madeGrants remembers grants by the UIDs of their requests, for as long as the process
// lives and among the last 32768: one that went before its status could be written is not
// given again. Nil remembers nothing.
type madeGrants struct{ recent *lru.Cache }

func newMadeGrants() *madeGrants { return &madeGrants{lru.New(maxRecentUIDs)} }

// add remembers what the binding of a request stands for. One that only says that it is of
// the request is none.
func (m *madeGrants) add(b *rbacv1.RoleBinding) {
	if m == nil || !grant.Managed(b) || grant.Misnamed(b) {
		return
	}
	if g, ok := grant.Of(b); ok {
		m.recent.Add(types.UID(b.Labels[v1alpha1.RequestUIDLabel]), g)
	}
}

// of is what was given by a request; nil if nothing is known.
func (m *madeGrants) of(request types.UID) *v1alpha1.Grant {
	if m == nil {
		return nil
	}
	g, ok := m.recent.Get(request)
	if !ok {
		return nil
	}
	made := g.(v1alpha1.Grant)
	return &made
}
