// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/text"
)

const (
	// standingPage is how many bindings are read at once.
	standingPage = 500
	// maxStanding is how many are printed.
	maxStanding = 100
)

// tellStanding lists what a person holds outside Lapse: it is not ended by what was done.
func (a *allOf) tellStanding(ctx context.Context) {
	rows, unread := a.standing(ctx)
	if len(rows) > 0 {
		a.say("outside Lapse these name %q, and are left as they are:", a.who)
	} else if len(unread) == 0 {
		a.say("outside Lapse no RoleBinding%s and no ClusterRoleBinding names %q", a.place(), a.who)
	}
	for _, row := range rows[:min(len(rows), maxStanding)] {
		fmt.Fprintln(a.Out, text.Line(row))
	}
	if more := len(rows) - maxStanding; more > 0 {
		a.say("and %d more", more)
	}
	for _, why := range unread {
		a.say("what %q holds outside Lapse could not all be listed: %s", a.who, why)
	}
	a.say("not looked at: what %q holds through groups, in Lapse or outside of it", a.who)
	if a.namespace != "" {
		a.say("looked at: namespace %s; -A looks at all", a.namespace)
	}
}

// standing are the bindings that name the person, and why some could not be read.
func (a *allOf) standing(ctx context.Context) (rows, unread []string) {
	own := map[types.NamespacedName]bool{} // those of requests of which it is told already
	for _, req := range a.found {
		own[types.NamespacedName{Namespace: req.Namespace, Name: binding.Name(req)}] = true
	}
	err := a.pages(func(o *metav1.ListOptions) (string, error) {
		page := &rbacv1.RoleBindingList{}
		err := a.c.listBy(ctx, a.namespace, o, page)
		for i := range page.Items {
			b := &page.Items[i]
			if a.named(b.Subjects, b.Namespace) && !own[types.NamespacedName{Namespace: b.Namespace, Name: b.Name}] {
				rows = append(rows, fmt.Sprintf("rolebinding.rbac.authorization.k8s.io/%s in %s: %s %s", b.Name, b.Namespace, b.RoleRef.Kind, b.RoleRef.Name))
			}
		}
		return page.Continue, err
	})
	if err != nil {
		unread = append(unread, a.explain(err))
	}
	err = a.pages(func(o *metav1.ListOptions) (string, error) {
		page := &rbacv1.ClusterRoleBindingList{}
		err := a.c.listBy(ctx, "", o, page)
		for i := range page.Items {
			if b := &page.Items[i]; a.named(b.Subjects, "") {
				rows = append(rows, fmt.Sprintf("clusterrolebinding.rbac.authorization.k8s.io/%s: %s %s", b.Name, b.RoleRef.Kind, b.RoleRef.Name))
			}
		}
		return page.Continue, err
	})
	if err != nil {
		unread = append(unread, a.explain(err))
	}
	return rows, unread
}

// pages reads until there is no more.
func (a *allOf) pages(read func(*metav1.ListOptions) (next string, err error)) error {
	for from := ""; ; {
		next, err := read(&metav1.ListOptions{Limit: standingPage, Continue: from})
		if err != nil || next == "" {
			return err
		}
		from = next
	}
}

// named says whether subjects of a binding in a namespace name the person, in whichever
// form of his account.
func (a *allOf) named(subjects []rbacv1.Subject, namespace string) bool {
	return slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool {
		return s.Kind != rbacv1.GroupKind &&
			policy.Account(v1alpha1.Subject{Kind: s.Kind, Namespace: cmp.Or(s.Namespace, namespace), Name: s.Name}) == a.who
	})
}
