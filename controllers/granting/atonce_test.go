// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

func TestOnlyTheRequestIsReadAfterSomethingElse(t *testing.T) {
	const others = 4 // binding, namespace, role, policy
	s, look := newScene()
	patience, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var asked atomic.Int32
	all := make(chan struct{})
	s.answers = func(_ context.Context, obj client.Object) {
		if _, last := obj.(*v1alpha1.AccessRequest); last {
			return
		}
		if asked.Add(1) == others {
			close(all)
		}
		select {
		case <-all:
		case <-patience.Done():
		}
	}
	if err := look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if asked.Load() != others || patience.Err() != nil {
		t.Errorf("of %q, something was not asked before something else was answered", s.asked)
	}
}

func TestByAPolicyThatChangedNothingIsGiven(t *testing.T) {
	s, look := newScene()
	s.answers = func(_ context.Context, obj client.Object) {
		if p, ok := obj.(*v1alpha1.AccessPolicy); ok {
			p.Generation++ // which the cache does not show yet
		}
	}
	if err := look(t.Context()); err == nil || slices.Contains(s.asked, "create RoleBinding") {
		t.Errorf("err = %v; the API server was asked %q", err, s.asked)
	}
}

// Whoever waited may have been approved under a policy that has changed since the look began.
func TestWhatWaitedIsConfirmedByAPolicyThatIsReadLast(t *testing.T) {
	s, look := newScene()
	req := &v1alpha1.AccessRequest{}
	if err := s.get("debug", req); err != nil {
		t.Fatal(err)
	}
	req.Status.State = v1alpha1.StatePending
	s.put(req)
	early := make(chan struct{}, 10)
	s.answers = func(_ context.Context, obj client.Object) {
		switch obj.(type) {
		case *v1alpha1.AccessPolicy:
			early <- struct{}{}
		case *v1alpha1.AccessRequest: // is read before any policy, however long that takes
			select {
			case <-early:
				t.Error("a policy was read before the request")
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	if err := look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if bound := slices.Index(s.asked, "create RoleBinding"); bound < 1 || s.asked[bound-1] != "get AccessPolicy" {
		t.Errorf("%q: the policy was not read last of all", s.asked)
	}
}

func TestWhatEndsWaitsForNothingThatOnlyAYesNeeds(t *testing.T) {
	s, look := newScene()
	patience, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	s.answers = func(ctx context.Context, obj client.Object) {
		switch o := obj.(type) {
		case *v1alpha1.AccessRequest: // which the cache does not show yet
			o.Status.State = v1alpha1.StateDenied
		case *v1alpha1.AccessPolicy, *rbacv1.ClusterRole, *corev1.Namespace:
			select {
			case <-ctx.Done():
			case <-patience.Done():
			}
		}
	}
	if err := look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if patience.Err() != nil || slices.Contains(s.asked, "create RoleBinding") {
		t.Errorf("it waited for what it did not need; the API server was asked %q", s.asked)
	}
}

func TestWhatIsReadAtOnceIsBounded(t *testing.T) {
	for name, tc := range map[string]struct{ roles, want int }{
		"namespace, policy and role":     {1, 3},
		"what the policy offers besides": {3, 5},
		"no more than that":              {16, maxLookups},
	} {
		t.Run(name, func(t *testing.T) {
			offered := make([]string, tc.roles)
			for i := range offered {
				offered[i] = fmt.Sprint("role-", i)
			}
			s := &scene{objects: map[sceneKey]client.Object{}}
			s.put(builders.Policy("oncall").Allowing(offered...).Build())
			r := &RequestReconciler{client: sceneCache{of: s}}
			req := builders.Request("debug").In("payments").ForClusterRole("role-0").Build()
			if got := r.lookupsFor(t.Context(), req, "oncall"); len(got) != tc.want {
				t.Errorf("%d are read, want %d", len(got), tc.want)
			}
		})
	}
}

func TestWhatWasReadIsNotReadAgain(t *testing.T) {
	s := &scene{objects: map[sceneKey]client.Object{}}
	s.put(builders.ClusterRole("view", builders.Rule("", "pods", "get")))
	view := v1alpha1.RoleRef{Kind: v1alpha1.ClusterRoleKind, Name: "view"}
	gone := v1alpha1.RoleRef{Kind: v1alpha1.ClusterRoleKind, Name: "gone"}
	live := lookedUp{sceneServer{s}, []*lookup{lookupOfRole("payments", view), lookupOfRole("payments", gone)}}
	for _, read := range live.reads(t.Context()) {
		read()
	}
	for name, tc := range map[string]struct {
		key   client.ObjectKey
		obj   client.Object
		asks  int
		found bool
	}{
		"what was read":               {client.ObjectKey{Name: "view"}, &rbacv1.ClusterRole{}, 0, true},
		"what was not found":          {client.ObjectKey{Name: "gone"}, &rbacv1.ClusterRole{}, 0, false},
		"another one":                 {client.ObjectKey{Name: "edit"}, &rbacv1.ClusterRole{}, 1, false},
		"another kind of that name":   {client.ObjectKey{Name: "view"}, &rbacv1.Role{}, 1, false},
		"that name, in the namespace": {client.ObjectKey{Namespace: "payments", Name: "view"}, &rbacv1.Role{}, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			s.asked = nil
			err := live.Get(t.Context(), tc.key, tc.obj)
			if len(s.asked) != tc.asks || (err == nil) != tc.found || err != nil && !apierrors.IsNotFound(err) {
				t.Errorf("err = %v; the API server was asked %q", err, s.asked)
			}
			if tc.found && tc.obj.GetName() != tc.key.Name {
				t.Errorf("found %q", tc.obj.GetName())
			}
		})
	}
}
