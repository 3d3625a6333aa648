// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// Left lists what a cluster has of Lapse, of each kind that its API server lists, such as
// "rolebindings payments/lapse-keys-4602efc0", and says what of it is being deleted. Events
// are left out: they go by themselves.
func Left(ctx context.Context, admin *rest.Config) ([]string, error) {
	admin = rest.CopyConfig(admin)
	admin.QPS, admin.WarningHandler = -1, rest.NoWarnings{} // there are many kinds, and some are deprecated
	kinds, err := discovery.NewDiscoveryClientForConfig(admin)
	if err != nil {
		return nil, err
	}
	objects, err := metadata.NewForConfig(admin)
	if err != nil {
		return nil, err
	}
	served, err := kinds.ServerPreferredResourcesWithContext(ctx)
	if err != nil {
		return nil, err
	}
	listable, err := discovery.GroupVersionResources(discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list"}}, served))
	if err != nil {
		return nil, err
	}
	var left []string
	for kind := range listable {
		if kind.Resource == "events" {
			continue
		}
		list, err := objects.Resource(kind).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", kind.Resource, err)
		}
		for i := range list.Items {
			if o := &list.Items[i]; kind.Group == v1alpha1.GroupVersion.Group || isOurs(o) {
				left = append(left, kind.Resource+" "+describe(o))
			}
		}
	}
	slices.Sort(left)
	return left, nil
}

// isOurs goes by the names, labels and annotations that Lapse gives.
func isOurs(o *metav1.PartialObjectMetadata) bool {
	if strings.HasPrefix(o.Name, v1alpha1.BindingPrefix) ||
		o.Labels["app.kubernetes.io/part-of"] == "lapse" || o.Labels[v1alpha1.ManagedByLabel] == v1alpha1.ManagedBy {
		return true
	}
	names := slices.AppendSeq([]string{o.Name}, maps.Keys(o.Labels))
	names = slices.AppendSeq(names, maps.Keys(o.Annotations))
	return slices.ContainsFunc(names, func(name string) bool { return strings.Contains(name, v1alpha1.GroupVersion.Group) })
}

// describe says how an object is called, and what keeps it.
func describe(o *metav1.PartialObjectMetadata) string {
	said := strings.TrimPrefix(o.Namespace+"/"+o.Name, "/")
	if o.DeletionTimestamp != nil {
		said += fmt.Sprintf(" is being deleted, with finalizers %q", o.Finalizers)
	}
	return said
}
