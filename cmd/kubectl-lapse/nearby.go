// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
)

// misplacedError is that a request is not where it was looked for, and is in other namespaces.
type misplacedError struct {
	err   error // as the API server says it
	where []string
}

func (e *misplacedError) Error() string { return e.err.Error() }

func (e *misplacedError) Unwrap() error { return e.err }

// find reads a request of the namespace by its name. Where there is none it is looked for in all
// namespaces, if that is allowed.
func (p *plugin) find(ctx context.Context, c *cluster, name string) (*v1alpha1.AccessRequest, error) {
	req := &v1alpha1.AccessRequest{}
	err := c.get(ctx, p.namespace(), name, req)
	if !apierrors.IsNotFound(err) {
		return req, err
	}
	list := &v1alpha1.AccessRequestList{}
	if listErr := c.listWhere(ctx, "", named(name), list); listErr != nil || len(list.Items) == 0 {
		return nil, err
	}
	return nil, &misplacedError{err, namespacesOf(list.Items)}
}

// namespacesOf are those of some requests, each once: a list is sorted by them.
func namespacesOf(requests []v1alpha1.AccessRequest) (names []string) {
	for i := range requests {
		if name := requests[i].Namespace; len(names) == 0 || names[len(names)-1] != name {
			names = append(names, name)
		}
	}
	return names
}

// namedFor are the other namespaces that policies name and in which they let somebody ask: for one
// role, or for any without one. What they select by labels is not among them.
func namedFor(policies []v1alpha1.AccessPolicy, who *v1alpha1.Identity, role *v1alpha1.RoleRef, not string) []string {
	var names []string
	for i := range policies {
		spec := &policies[i].Spec
		if policy.MayAsk(spec, who) && (role == nil || slices.Contains(spec.Roles, *role)) {
			names = append(names, spec.Namespaces.Names...)
		}
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == not })
}

// mayAskIn adds, where RBAC refuses somebody the requests of a namespace, the other ones that
// policies name for him: for one role, or for any without one.
func (p *plugin) mayAskIn(ctx context.Context, c *cluster, namespace string, role *v1alpha1.RoleRef, err error) error {
	if !apierrors.IsForbidden(err) || !cannot.MatchString(err.Error()) {
		return err
	}
	list := &v1alpha1.AccessPolicyList{}
	if c.list(ctx, "", list) != nil {
		return err // who may not read policies is not told of them
	}
	me, unknown := c.whoami(ctx)
	if unknown != nil {
		return err
	}
	where := namedFor(list.Items, me, role, namespace)
	if len(where) == 0 {
		return err
	}
	offered := "something"
	if role != nil {
		offered = policy.RoleArgument(*role)
	}
	return &exitError{exitFailed, fmt.Sprintf("error: %s; policies offer you %s in %s", p.explain(err), offered, lookIn(where))}
}

// lookIn names some namespaces, of which there is one at least, and how to look there.
func lookIn(names []string) string {
	return fmt.Sprintf("%s: add -n %s", firstNames(names), names[0])
}

// firstNames are the first of some names, and how many more there are.
func firstNames(names []string) string {
	shown := strings.Join(names[:min(len(names), shownNames)], ", ")
	if more := len(names) - shownNames; more > 0 {
		shown += fmt.Sprintf(" and %d more", more)
	}
	return shown
}
