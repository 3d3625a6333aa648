// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package unbind ends the access that a RoleBinding gives: it deletes the object, else takes
// the subjects off, else the finalizers that keep it.
package unbind

import (
	"context"
	"errors"
	"fmt"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/lapse-dev/lapse/internal/binding"
)

// Patience is how long Insist waits for a deletion before it takes the subjects off, too.
const Patience = 200 * time.Millisecond

// Unbinder ends the access that RoleBindings give.
type Unbinder struct {
	// Writer writes to the API server.
	Writer client.Writer
	// Live reads past the cache.
	Live client.Reader
	// Clock times patience.
	Clock clock.WithDelayedExecution
}

// Insist is Remove, and takes the subjects off beside it if that is not answered soon: a
// webhook may swallow the one and not the other.
func (u Unbinder) Insist(ctx context.Context, seen *rbacv1.RoleBinding) (left *rbacv1.RoleBinding, err error) {
	if len(seen.Subjects) == 0 {
		return u.Remove(ctx, seen)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	emptied := make(chan error, 1)
	patience := u.Clock.AfterFunc(Patience, func() {
		err := u.Empty(ctx, seen)
		if err == nil {
			cancel()
		}
		emptied <- err
	})
	defer patience.Stop()
	left, err = u.Remove(ctx, seen)
	if err == nil || patience.Stop() {
		return left, err
	}
	if <-emptied == nil {
		return seen, nil
	}
	return left, err
}

// Remove ends the access of a binding, as it was last seen, and deletes it. left is what is
// still there when something keeps the object, or it could not be deleted: nobody holds the
// role by it any more, and Remove has to be called again. It is nil when nothing is there.
// An error means that access may go on.
//
// RBAC honours a RoleBinding until the object is gone, and a finalizer of anybody
// who may patch bindings keeps the object. Remove takes the subjects off such an object.
func (u Unbinder) Remove(ctx context.Context, seen *rbacv1.RoleBinding) (left *rbacv1.RoleBinding, err error) {
	if len(seen.Finalizers) == 0 {
		// With the resource version matched there is still no finalizer: this
		// deletion is whole, and needs no second look.
		err := u.Writer.Delete(ctx, seen, client.Preconditions{UID: &seen.UID, ResourceVersion: &seen.ResourceVersion}, inBackground)
		if err == nil {
			return nil, nil
		}
		// Whatever is in the way of deletions, a webhook that is down or RBAC, may not be
		// in the way of an update.
	}
	live, err := u.look(ctx, seen)
	switch {
	case err != nil:
		return nil, errors.Join(err, u.deleteByUID(ctx, seen))
	case live == nil:
		return nil, nil
	case live.DeletionTimestamp != nil && len(live.Subjects) == 0:
		return live, nil // it goes by itself when what keeps it lets go
	}
	return u.disarm(ctx, live)
}

// look reads a binding past the cache; nil if it is not there any more. That is believed of
// nothing else.
func (u Unbinder) look(ctx context.Context, seen *rbacv1.RoleBinding) (*rbacv1.RoleBinding, error) {
	live := &rbacv1.RoleBinding{}
	err := u.Live.Get(ctx, client.ObjectKeyFromObject(seen), live)
	switch {
	case binding.Gone(err), err == nil && live.UID != seen.UID:
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading RoleBinding %s/%s: %w", seen.Namespace, seen.Name, err)
	}
	return live, nil
}

// unlessGone is what a write was answered; nil if it says "not found", and the binding is not there.
func (u Unbinder) unlessGone(ctx context.Context, seen *rbacv1.RoleBinding, err error) error {
	if apierrors.IsNotFound(err) {
		if live, lookErr := u.look(ctx, seen); live == nil && lookErr == nil {
			return nil
		}
	}
	return err
}

// disarm ends the access of a binding that may be pinned by a finalizer.
func (u Unbinder) disarm(ctx context.Context, live *rbacv1.RoleBinding) (left *rbacv1.RoleBinding, err error) {
	pinned := len(live.Finalizers) > 0
	emptyErr := u.Empty(ctx, live)
	emptied := emptyErr == nil
	if pinned && refused(emptyErr) {
		emptyErr = u.unpin(ctx, live)
		pinned = emptyErr != nil
	}
	deleteErr := u.deleteByUID(ctx, live)
	switch {
	case !pinned && deleteErr == nil:
		return nil, nil
	case emptied && deleteErr != nil:
		log.FromContext(ctx).Error(deleteErr, "nobody holds a role by it any more, but it stays until the operator can delete it")
		return live, nil
	}
	return live, errors.Join(emptyErr, deleteErr)
}

// undoes is who alters what the operator writes.
const undoes = "a mutating webhook or a MutatingAdmissionPolicy; exempt the operator's ServiceAccount from it"

// unpin takes the finalizers off, so that a deletion is whole. It is what is left
// when the operator may not bind the role any more: then it may not change subjects
// either, but what only concerns garbage collection it may, with the resource version
// left as it is.
func (u Unbinder) unpin(ctx context.Context, seen *rbacv1.RoleBinding) error {
	free := seen.DeepCopy()
	free.Finalizers = nil
	switch err := u.unlessGone(ctx, seen, u.Writer.Update(ctx, free)); {
	case err != nil:
		return fmt.Errorf("taking the finalizers off RoleBinding %s/%s: %w", seen.Namespace, seen.Name, err)
	case len(free.Finalizers) > 0:
		return fmt.Errorf("the finalizers of RoleBinding %s/%s were put back by %s", seen.Namespace, seen.Name, undoes)
	}
	return nil
}

// MayNotBind says whether Empty failed since the operator may not bind the role any more. If the
// role is gone as well, the API server says "not found".
func MayNotBind(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsNotFound(err) }

// refused is the same, or that a rule of somebody else wants a RoleBinding to have subjects.
func refused(err error) bool {
	return MayNotBind(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err)
}

// Empty takes the subjects off a binding. It is unconditional but for the UID, so
// that somebody who keeps changing the object cannot keep the access.
func (u Unbinder) Empty(ctx context.Context, seen *rbacv1.RoleBinding) error {
	if len(seen.Subjects) == 0 {
		return nil
	}
	empty := seen.DeepCopy()
	empty.Subjects, empty.ResourceVersion = nil, ""
	switch err := u.unlessGone(ctx, seen, u.Writer.Update(ctx, empty)); {
	case err != nil:
		return fmt.Errorf("emptying RoleBinding %s/%s: %w", seen.Namespace, seen.Name, err)
	case len(empty.Subjects) > 0:
		return fmt.Errorf("emptying RoleBinding %s/%s: its subjects were put back by %s", seen.Namespace, seen.Name, undoes)
	}
	return nil
}

// inBackground has the API server drop the finalizers of its garbage collector: somebody may
// have deleted the object in the foreground, and made something that keeps it.
const inBackground = client.PropagationPolicy(metav1.DeletePropagationBackground)

func (u Unbinder) deleteByUID(ctx context.Context, seen *rbacv1.RoleBinding) error {
	err := u.unlessGone(ctx, seen, u.Writer.Delete(ctx, seen, client.Preconditions{UID: &seen.UID}, inBackground))
	if err != nil {
		return fmt.Errorf("deleting RoleBinding %s/%s: %w", seen.Namespace, seen.Name, err)
	}
	return nil
}
