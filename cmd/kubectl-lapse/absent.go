// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/text"
)

// absent says which namespaces policies name that do not exist now, a line for each policy. It is
// no mistake, since they may be made later. Who may not list namespaces is told nothing.
func (c *cluster) absent(ctx context.Context, policies []v1alpha1.AccessPolicy) (out []string) {
	list := &corev1.NamespaceList{}
	if c.list(ctx, "", list) != nil {
		return nil
	}
	exists := map[string]bool{}
	for i := range list.Items {
		exists[list.Items[i].Name] = true
	}
	for i := range policies {
		var missing []string
		for _, name := range policies[i].Spec.Namespaces.Names {
			if !exists[name] {
				missing = append(missing, name)
			}
		}
		if len(missing) > 0 {
			said := fmt.Sprintf("policy %s names namespaces that do not exist now, and may be made later: %s", policies[i].Name, firstNames(missing))
			out = append(out, text.Line(said))
		}
	}
	return out
}
