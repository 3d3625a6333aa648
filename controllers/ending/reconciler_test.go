// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package ending

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/servertime"
)

// oneBinding is an API server, and a cache, that have one binding and nothing else.
type oneBinding struct {
	client.Client
	binding *rbacv1.RoleBinding
	// update is what the API server says to one, if it does not keep its answer back.
	update    error
	keepsBack bool
}

func (s *oneBinding) Get(_ context.Context, _ client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	into, ok := obj.(*rbacv1.RoleBinding)
	switch {
	case !ok:
		return errors.New("nothing but RoleBindings can be read")
	case s.binding == nil:
		return apierrors.NewNotFound(rbacv1.Resource("rolebindings"), "gone")
	}
	s.binding.DeepCopyInto(into)
	return nil
}

func (s *oneBinding) Delete(ctx context.Context, _ client.Object, _ ...client.DeleteOption) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.binding = nil
	return nil
}

func (s *oneBinding) Update(ctx context.Context, _ client.Object, _ ...client.UpdateOption) error {
	if s.keepsBack {
		<-ctx.Done()
		return ctx.Err()
	}
	return s.update
}

func TestABindingThatCannotBeEmptiedWithoutBindGoes(t *testing.T) {
	for name, tc := range map[string]struct {
		says error
		goes bool
	}{
		"emptied":                    {nil, false},
		"the operator may not bind":  {apierrors.NewForbidden(rbacv1.Resource("rolebindings"), "x", errors.New("attempting to grant")), true},
		"nor is the role there":      {apierrors.NewNotFound(rbacv1.Resource("clusterroles"), "edit"), true},
		"a webhook is away":          {apierrors.NewInternalError(errors.New("webhook")), false},
		"a webhook does not find it": {apierrors.NewNotFound(rbacv1.Resource("rolebindings"), "x"), true},
	} {
		b := &rbacv1.RoleBinding{Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: "alice"}}}
		b.Namespace, b.Name, b.UID = "payments", "lapse-debug-4602efc0", "b1"
		server := &oneBinding{binding: b, update: tc.says}
		here := clocktesting.NewFakeClock(time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC))
		ending := newReconciler(Options{
			Client: server, Live: server, Clock: servertime.New(here), MaxDuration: 24 * time.Hour, Memory: binding.NewMemory(24 * time.Hour),
			RequestOf: func(context.Context, binding.Owner) binding.RequestIs { return binding.Unaware },
			Leading:   func() bool { return true },
		})
		left, err := ending.end(t.Context(), b, binding.Owner{UID: "6f1c2d3e-0000"})
		if gone := left == nil && err == nil; gone != tc.goes || (server.binding == nil) != tc.goes {
			t.Errorf("%s: left %v, %v; want it to go: %t", name, left, err, tc.goes)
		}
	}
}

func TestAnEmptyingThatIsNotAnsweredLeavesTimeForTheDeletion(t *testing.T) {
	noon := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	for name, remembered := range map[string]bool{"a grant that is remembered": true, "one that is known by its binding alone": false} {
		synctest.Test(t, func(t *testing.T) {
			req := &v1alpha1.AccessRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "debug", UID: "6f1c2d3e-0000"}}
			given := v1alpha1.Grant{Binding: binding.Name(req), GrantedAt: metav1.NewTime(noon.Add(-time.Hour)), ExpiresAt: metav1.NewTime(noon)}
			b := binding.New(req, v1alpha1.Subject{}, "", given)
			memory := binding.NewMemory(24 * time.Hour)
			if remembered {
				memory.Add(b)
			}
			server := &oneBinding{binding: b, keepsBack: true}
			ending := newReconciler(Options{
				Client: server, Live: server, Clock: servertime.New(clocktesting.NewFakeClock(noon)), MaxDuration: 24 * time.Hour, Memory: memory,
				RequestOf: func(context.Context, binding.Owner) binding.RequestIs { return binding.Unaware },
				Leading:   func() bool { return true },
			})
			ctx, cancel := context.WithTimeout(t.Context(), emptyTimeout+time.Second)
			defer cancel()
			left, err := ending.end(ctx, b, binding.OwnerOf(b))
			if gone := left == nil && err == nil; gone != remembered || (server.binding == nil) != remembered {
				t.Errorf("%s: left %v, %v; want it to go: %t", name, left, err, remembered)
			}
		})
	}
}

func TestAccessEndsAtItsDeadlineAndByAStandby2SecondsLater(t *testing.T) {
	noon := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		leading bool
		late    time.Duration
	}{
		"by the leader, at the deadline": {true, 0},
		"by a standby, 2 s later":        {false, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			req := &v1alpha1.AccessRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "debug", UID: "6f1c2d3e-0000"}}
			began := metav1.NewTime(noon.Add(-time.Hour))
			given := v1alpha1.Grant{Binding: binding.Name(req), GrantedAt: began, ExpiresAt: metav1.NewTime(noon)}
			b := binding.New(req, v1alpha1.Subject{}, "", given)
			b.UID, b.CreationTimestamp = "b1", began
			server, here := &oneBinding{binding: b}, clocktesting.NewFakeClock(noon.Add(tc.late-time.Second))
			ending := NewReconciler(Options{
				Client: server, Live: server, Clock: servertime.New(here), MaxDuration: 24 * time.Hour, Memory: binding.NewMemory(24 * time.Hour),
				RequestOf: func(context.Context, binding.Owner) binding.RequestIs { return binding.Aware },
				Leading:   func() bool { return tc.leading },
			})
			look := func() ctrl.Result {
				t.Helper()
				result, err := ending.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(b)})
				if err != nil {
					t.Fatal(err)
				}
				return result
			}
			if result := look(); server.binding == nil || result.RequeueAfter != time.Second {
				t.Errorf("a second before: gone %v, looked at again after %s", server.binding == nil, result.RequeueAfter)
			}
			here.Step(time.Second)
			if look(); server.binding != nil {
				t.Error("it is still there")
			}
		})
	}
}
