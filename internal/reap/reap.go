// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package reap ends access that the operator did not end, because it is gone. It
// needs neither the operator nor the kinds of Lapse: only to list and delete
// RoleBindings.
package reap

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/internal/grant"
)

// pageSize bounds how many RoleBindings are in memory at once.
const pageSize = 500

// Reaper deletes managed RoleBindings past their end.
type Reaper struct {
	// Client needs list and delete on rolebindings, and must not be a cache.
	Client interface {
		client.Reader
		client.Writer
	}
	// Now is the API server's time. It is asked after the first answer came.
	Now func() time.Time
	// Ceiling is the longest grant there can be; the operator's --max-duration.
	Ceiling time.Duration
	// DryRun deletes nothing, and says what would be.
	DryRun bool
}

// Binding is one RoleBinding that was past its end.
type Binding struct {
	Namespace, Name string
	// Deadline by which it had to be gone.
	Deadline time.Time
	// Err says why access may go on; nil when it ended, or would in a dry run.
	Err error

	uid        types.UID
	finalizers []string
}

// Run looks at all RoleBindings once and deletes what is past its end, with a little
// slack for the operator. It returns what was due, each with what became of it, and
// an error if not all could be listed: what was found until then is dealt with.
func (r Reaper) Run(ctx context.Context) ([]Binding, error) {
	due, err := r.due(ctx)
	for i := range due {
		if !r.DryRun {
			due[i].Err = r.end(ctx, due[i])
		}
	}
	return due, err
}

// due is found before anything is deleted, so that a page is never held up.
func (r Reaper) due(ctx context.Context) ([]Binding, error) {
	var due []Binding
	for page := (rbacv1.RoleBindingList{}); ; {
		if err := r.Client.List(ctx, &page, client.Limit(pageSize), client.Continue(page.Continue)); err != nil {
			return due, fmt.Errorf("listing RoleBindings: %w", err)
		}
		now := r.Now()
		for i := range page.Items {
			b := &page.Items[i]
			if at, ok := grant.ReapAt(b, r.Ceiling); ok && !now.Before(at) {
				due = append(due, Binding{
					Namespace: b.Namespace, Name: b.Name, Deadline: grant.Deadline(b, r.Ceiling),
					uid: b.UID, finalizers: b.Finalizers,
				})
			}
		}
		if page.Continue == "" {
			return due, nil
		}
	}
}

// end deletes one. RBAC honours a RoleBinding until the object is gone, so one that a
// finalizer keeps is a failure.
func (r Reaper) end(ctx context.Context, b Binding) error {
	obj := &rbacv1.RoleBinding{}
	obj.Namespace, obj.Name = b.Namespace, b.Name
	err := r.Client.Delete(ctx, obj, client.Preconditions{UID: &b.uid})
	switch {
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return nil // it went by itself; a conflict means that another one has its name
	case err != nil:
		return fmt.Errorf("access goes on, the deletion failed: %w", err)
	case len(b.finalizers) > 0:
		return pinned(b)
	default:
		return nil
	}
}

func pinned(b Binding) error {
	return errors.New("access goes on, finalizers keep the object: " + strings.Join(b.finalizers, ", ") +
		fmt.Sprintf("; take the subjects off with: kubectl patch rolebinding -n %s %s --type=merge -p '{\"subjects\":null}'", b.Namespace, b.Name))
}
