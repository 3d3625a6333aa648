// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/lapse-dev/lapse/api/v1alpha1"
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

// lookIn names some namespaces, of which there is one at least, and how to look there.
func lookIn(names []string) string {
	shown := strings.Join(names[:min(len(names), shownNames)], ", ")
	if more := len(names) - shownNames; more > 0 {
		shown += fmt.Sprintf(" and %d more", more)
	}
	return fmt.Sprintf("%s: add -n %s", shown, names[0])
}
