// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package binding

import (
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/lru"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// maxRemembered is how many are remembered.
const maxRemembered = 32768

// Memory remembers grants by the UIDs of their requests. A grant whose binding went before
// status could be written is found in it, and the request is not granted again. It is safe
// for concurrent use.
type Memory interface {
	// Add remembers what the binding of a request stands for. A binding that only claims
	// to be of a request is left out.
	Add(b *rbacv1.RoleBinding)
	// Of is what a request was given; nil if nothing is known.
	Of(request types.UID) *v1alpha1.Grant
}

// NewMemory remembers the last 32768, for as long as the process lives, none with a later
// end than the ceiling; see Deadline.
func NewMemory(ceiling time.Duration) Memory { return memory{lru.New(maxRemembered), ceiling} }

type memory struct {
	grants  *lru.Cache
	ceiling time.Duration
}

func (m memory) Add(b *rbacv1.RoleBinding) {
	if !Managed(b) || Misnamed(b) {
		return
	}
	g, ok := Of(b)
	if !ok {
		return
	}
	if latest := metav1.NewTime(Deadline(b, m.ceiling)); !b.CreationTimestamp.IsZero() && latest.Before(&g.ExpiresAt) {
		g.ExpiresAt = latest // somebody put it off
	}
	m.grants.Add(OwnerOf(b).UID, g)
}

func (m memory) Of(request types.UID) *v1alpha1.Grant {
	known, ok := m.grants.Get(request)
	if !ok {
		return nil
	}
	g := known.(v1alpha1.Grant)
	return &g
}

// UIDs remembers the UIDs that were added last, 32768 of them. It is safe for concurrent
// use.
type UIDs struct{ known *lru.Cache }

// NewUIDs remembers none yet.
func NewUIDs() *UIDs { return &UIDs{lru.New(maxRemembered)} }

// Add remembers one.
func (u *UIDs) Add(uid types.UID) { u.known.Add(uid, nil) }

// Remove forgets one.
func (u *UIDs) Remove(uid types.UID) { u.known.Remove(uid) }

// Has says whether one was added.
func (u *UIDs) Has(uid types.UID) bool {
	_, known := u.known.Get(uid)
	return known
}
