// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package unbind

import (
	"context"
	"errors"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// apiServer answers as a real one does that somebody's webhooks and roles stand before.
type apiServer struct {
	client.Writer
	client.Reader
	binding        rbacv1.RoleBinding
	went           bool // the binding, by itself
	update, delete func(context.Context, client.Object) error
}

func (s *apiServer) Get(ctx context.Context, _ client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	if s.went {
		return missing(ctx, nil)
	}
	s.binding.DeepCopyInto(obj.(*rbacv1.RoleBinding))
	return nil
}

func (s *apiServer) Update(ctx context.Context, obj client.Object, _ ...client.UpdateOption) error {
	return s.update(ctx, obj)
}

func (s *apiServer) Delete(ctx context.Context, obj client.Object, _ ...client.DeleteOption) error {
	return s.delete(ctx, obj)
}

func answers(context.Context, client.Object) error { return nil }

func hangs(ctx context.Context, _ client.Object) error {
	<-ctx.Done()
	return ctx.Err()
}

func fails(context.Context, client.Object) error {
	return apierrors.NewInternalError(errors.New("webhook"))
}

func after(d time.Duration) func(context.Context, client.Object) error {
	return func(ctx context.Context, _ client.Object) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// mayOnlyUnpin is what is left to an operator that may not bind the role.
func mayOnlyUnpin(_ context.Context, obj client.Object) error {
	if len(obj.(*rbacv1.RoleBinding).Subjects) == 0 {
		return apierrors.NewForbidden(rbacv1.Resource("rolebindings"), obj.GetName(),
			errors.New("attempting to grant RBAC permissions not currently held"))
	}
	return nil
}

// missing is how the API server says that there is no such binding, and a webhook may, too.
func missing(context.Context, client.Object) error {
	return apierrors.NewNotFound(rbacv1.Resource("rolebindings"), "lapse-debug-4602efc0")
}

// lookup is how a webhook answers that does not find what it needs.
func lookup(context.Context, client.Object) error {
	return apierrors.NewNotFound(rbacv1.Resource("configmaps"), "rules")
}

// subjectsWanted is a rule of somebody else.
func subjectsWanted(_ context.Context, obj client.Object) error {
	if len(obj.(*rbacv1.RoleBinding).Subjects) == 0 {
		return apierrors.NewInvalid(schema.GroupKind{Group: rbacv1.GroupName, Kind: "RoleBinding"}, obj.GetName(), nil)
	}
	return nil
}

// roleGone is what is left to it if the role is gone as well.
func roleGone(_ context.Context, obj client.Object) error {
	if len(obj.(*rbacv1.RoleBinding).Subjects) == 0 {
		return apierrors.NewNotFound(rbacv1.Resource("clusterroles"), "edit")
	}
	return nil
}

// undone and repinned are how mutating webhooks answer that keep what somebody takes off.
func undone(_ context.Context, obj client.Object) error {
	obj.(*rbacv1.RoleBinding).Subjects = []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: "alice"}}
	return nil
}

func repinned(ctx context.Context, obj client.Object) error {
	err := mayOnlyUnpin(ctx, obj)
	obj.SetFinalizers([]string{"example.com/pin"})
	return err
}

// impatient is a clock by which patience is over at once.
type impatient struct{ clock.RealClock }

func (impatient) AfterFunc(_ time.Duration, f func()) clock.Timer {
	return clock.RealClock{}.AfterFunc(time.Millisecond, f)
}

func TestEndByWhateverIsAnswered(t *testing.T) {
	pin := []string{"example.com/pin"}
	for _, tc := range []struct {
		name           string
		finalizers     []string
		update, delete func(context.Context, client.Object) error
		went           bool
		left, fails    bool
	}{
		{name: "all is well", update: answers, delete: answers},
		{name: "deletions hang", update: answers, delete: hangs, left: true},
		{name: "updates hang", update: hangs, delete: answers},
		{name: "updates hang, deletions are slow", update: hangs, delete: after(20 * time.Millisecond)},
		{name: "deletions hang, updates are slow", update: after(20 * time.Millisecond), delete: hangs, left: true},
		{name: "deletions fail", update: answers, delete: fails, left: true},
		{name: "both fail", update: fails, delete: fails, fails: true},
		{name: "both hang", update: hangs, delete: hangs, fails: true},
		{name: "pinned", finalizers: pin, update: answers, delete: answers, left: true},
		{name: "pinned, and deletions hang", finalizers: pin, update: answers, delete: hangs, left: true},
		{name: "pinned, without bind", finalizers: pin, update: mayOnlyUnpin, delete: answers},
		{name: "pinned, without bind, and deletions fail", finalizers: pin, update: mayOnlyUnpin, delete: fails, fails: true},
		{name: "deletions hang, without bind and role", update: roleGone, delete: hangs, fails: true},
		{name: "pinned, without bind and role", finalizers: pin, update: roleGone, delete: answers},
		{name: "pinned, without bind and role, and deletions fail", finalizers: pin, update: roleGone, delete: fails, fails: true},
		{name: "pinned, without bind and role, which unpinning is told, too", finalizers: pin, update: lookup, delete: answers, fails: true},
		{name: "pinned, and a rule wants subjects", finalizers: pin, update: subjectsWanted, delete: answers},
		{name: "went by itself", went: true, update: missing, delete: missing},
		{name: "pinned, and went by itself", finalizers: pin, went: true, update: missing, delete: missing},
		{name: "a webhook for deletions does not find what it needs", update: answers, delete: lookup, left: true},
		{name: "a webhook for deletions does not find the binding", update: answers, delete: missing, left: true},
		{name: "a webhook for both does not find what it needs", update: lookup, delete: lookup, fails: true},
		{name: "a webhook for both does not find the binding", update: missing, delete: missing, fails: true},
		{name: "subjects are put back, and deletions fail", update: undone, delete: fails, fails: true},
		{name: "subjects are put back", update: undone, delete: answers},
		{name: "finalizers are put back, without bind", finalizers: pin, update: repinned, delete: answers, fails: true},
		{name: "pinned, without bind, and deletions hang", finalizers: pin, update: mayOnlyUnpin, delete: hangs, fails: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			server := &apiServer{update: tc.update, delete: tc.delete, went: tc.went, binding: rbacv1.RoleBinding{
				ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "lapse-debug-4602efc0", UID: "1", Finalizers: tc.finalizers},
				Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: "alice"}},
			}}
			left, err := Unbinder{Writer: server, Live: server, Clock: impatient{}}.Insist(ctx, server.binding.DeepCopy())
			if (err != nil) != tc.fails {
				t.Errorf("err %v, want one: %v", err, tc.fails)
			}
			if err == nil && (left != nil) != tc.left {
				t.Errorf("left %v, want something: %v", left, tc.left)
			}
		})
	}
}
