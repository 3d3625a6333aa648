// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package binding

import (
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

func TestMemoryHasOnlyGrantsOfTheRequestItself(t *testing.T) {
	const request = "4602efc0-0000"
	of := func(name string) *rbacv1.RoleBinding {
		return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy, v1alpha1.RequestUIDLabel: request},
			Annotations: map[string]string{
				v1alpha1.RequestAnnotation: "debug", v1alpha1.ExpiresAtAnnotation: "2026-12-01T12:00:00Z",
				v1alpha1.CreateByAnnotation: "2026-12-01T11:00:05Z",
			},
		}}
	}
	m := NewMemory(24 * time.Hour)
	m.Add(of("lapse-second-4602efc0"))
	foreign := of("lapse-debug-4602efc0")
	delete(foreign.Labels, v1alpha1.ManagedByLabel)
	m.Add(foreign)
	if g := m.Of(request); g != nil {
		t.Errorf("of a binding that is not its own: %+v", g)
	}
	m.Add(of("lapse-debug-4602efc0"))
	if g := m.Of(request); g == nil || g.Binding != "lapse-debug-4602efc0" || g.ExpiresAt.IsZero() {
		t.Errorf("of its own: %+v", g)
	}
	putOff := of("lapse-debug-4602efc0")
	putOff.CreationTimestamp = metav1.NewTime(noon)
	putOff.Annotations[v1alpha1.ExpiresAtAnnotation] = "2099-12-01T12:00:00Z"
	m.Add(putOff)
	if g := m.Of(request); !g.ExpiresAt.Time.Equal(noon.Add(24 * time.Hour)) {
		t.Errorf("of its own that was put off: until %s", g.ExpiresAt)
	}
}
