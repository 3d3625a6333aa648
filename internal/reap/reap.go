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
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/internal/binding"
)

// pageSize bounds how many RoleBindings are in memory at once.
const pageSize = 500

// namespacesAtOnce bounds in how many namespaces access is ended at once, and inEach how
// many deletions wait in one of them.
const (
	namespacesAtOnce = 16
	inEach           = 4
)

// RoleBindings are all of a cluster, past any cache.
type RoleBindings interface {
	// List returns a page of them; from is what the page before says of where it goes on.
	List(ctx context.Context, limit int64, from string) (*rbacv1.RoleBindingList, error)
	// Delete deletes one in the background, and fails with a conflict if its UID is another.
	Delete(ctx context.Context, namespace, name string, uid types.UID) error
}

// Reaper deletes managed RoleBindings past their end.
type Reaper struct {
	RoleBindings RoleBindings
	// Now is the API server's time. It is asked after the first answer came.
	Now func() time.Time
	// Ceiling is the longest grant there can be; the operator's --max-duration.
	Ceiling time.Duration
	// All takes what is not past its end yet for due, too.
	All bool
	// DryRun deletes nothing, and says what would be.
	DryRun bool
	// Done is told what became of each as soon as that is known, one at a time; nil is nobody.
	Done func(Binding)
}

// Binding is one RoleBinding that was past its end.
type Binding struct {
	Namespace, Name string
	// Deadline by which it had to be gone.
	Deadline time.Time
	// Err says why access may go on; nil when it ended, or would in a dry run.
	Err error

	seen *rbacv1.RoleBinding
}

// Seen is the RoleBinding as it was listed.
func (b Binding) Seen() *rbacv1.RoleBinding { return b.seen }

// Run looks at all RoleBindings once and deletes what is past its end, with a little
// slack for the operator. It returns what was due, each with what became of it, and
// an error if not all could be listed: what was found until then is dealt with.
//
// A namespace in which deletions hang, as where a webhook does not answer, holds up no
// other until there are 16 of them.
func (r Reaper) Run(ctx context.Context) ([]Binding, error) {
	due, err := r.due(ctx)
	done := r.Done
	if done == nil {
		done = func(Binding) {}
	}
	if r.DryRun {
		for _, b := range due {
			done(b)
		}
		return due, err
	}
	var mu sync.Mutex
	each(due, func(b *Binding) {
		b.Err = r.end(ctx, *b)
		mu.Lock()
		defer mu.Unlock()
		done(*b)
	})
	return due, err
}

// each calls end for every binding, also when a context is over, and waits.
func each(due []Binding, end func(*Binding)) {
	byNamespace := map[string][]*Binding{}
	for i := range due {
		byNamespace[due[i].Namespace] = append(byNamespace[due[i].Namespace], &due[i])
	}
	var namespaces errgroup.Group
	namespaces.SetLimit(namespacesAtOnce)
	for _, there := range byNamespace {
		namespaces.Go(func() error {
			var bindings errgroup.Group
			bindings.SetLimit(inEach)
			for _, b := range there {
				bindings.Go(func() error { end(b); return nil })
			}
			return bindings.Wait()
		})
	}
	_ = namespaces.Wait() // what fails is in the bindings
}

// due is found before anything is deleted, so that a page is never held up.
func (r Reaper) due(ctx context.Context) ([]Binding, error) {
	var due []Binding
	for from := ""; ; {
		page, err := r.RoleBindings.List(ctx, pageSize, from)
		if err != nil {
			return due, fmt.Errorf("listing RoleBindings: %w", err)
		}
		now := r.Now()
		for i := range page.Items {
			b := &page.Items[i]
			if at, ok := binding.ReapAt(b, r.Ceiling); ok && (r.All || !now.Before(at)) {
				due = append(due, Binding{Namespace: b.Namespace, Name: b.Name, Deadline: binding.Deadline(b, r.Ceiling), seen: b.DeepCopy()})
			}
		}
		if from = page.Continue; from == "" {
			return due, nil
		}
	}
}

// end deletes one. RBAC honours a RoleBinding until the object is gone, so one that a
// finalizer keeps is a failure.
func (r Reaper) end(ctx context.Context, b Binding) error {
	err := r.RoleBindings.Delete(ctx, b.Namespace, b.Name, b.seen.UID)
	switch {
	case gone(err):
		return nil // it went by itself; another one may have its name
	case err != nil:
		return fmt.Errorf("access goes on, the deletion failed: %w", err)
	case pinned(b.seen.Finalizers):
		return stays(b)
	default:
		return nil
	}
}

// gone says whether an answer shows that the object is not there any more. Another one of its
// name is there if the API server says so in the words of its registry, or of its storage.
func gone(err error) bool {
	return binding.Gone(err) || apierrors.IsConflict(err) && (strings.Contains(err.Error(), "the UID in the precondition") || strings.Contains(err.Error(), "UID in precondition"))
}

// pinned says whether something keeps an object that is deleted in the background.
func pinned(finalizers []string) bool {
	return slices.ContainsFunc(finalizers, func(f string) bool {
		return f != metav1.FinalizerDeleteDependents && f != metav1.FinalizerOrphanDependents
	})
}

func stays(b Binding) error {
	return errors.New("access goes on, finalizers keep the object: " + strings.Join(b.seen.Finalizers, ", ") +
		fmt.Sprintf("; take the subjects off with: kubectl patch rolebinding -n %s %s --type=merge -p '{\"subjects\":null}'", b.Namespace, b.Name))
}
