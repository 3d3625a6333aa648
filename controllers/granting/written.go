// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"

	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/utils/lru"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// ownWrites reads requests as this replica wrote them, until its cache shows that. Who looks
// at an older one reads much to find what he knew, and may write what was written. To wait
// for the cache, as controller-runtime can, would have ends wait for a watch.
type ownWrites struct {
	client.Client
	// written and not seen yet, by UID.
	written *lru.Cache
}

// maxUnseen bounds how many are kept. A look at one that was dropped is wasted, no more.
const maxUnseen = 1024

func newOwnWrites(c client.Client) *ownWrites { return &ownWrites{c, lru.New(maxUnseen)} }

// Get reads the newer of what the cache has and what was written.
func (o *ownWrites) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	if err := o.Client.Get(ctx, key, obj, opts...); err != nil {
		return err
	}
	req, ok := obj.(*v1alpha1.AccessRequest)
	if !ok {
		return nil
	}
	written, ok := o.written.Get(req.UID)
	switch {
	case !ok:
	case olderThan(req, written.(*v1alpha1.AccessRequest)):
		written.(*v1alpha1.AccessRequest).DeepCopyInto(req)
	default:
		o.written.Remove(req.UID)
	}
	return nil
}

// Status remembers what is written by it.
func (o *ownWrites) Status() client.SubResourceWriter {
	return ownStatusWrites{o.Client.Status(), o}
}

func olderThan(a, b client.Object) bool {
	order, err := resourceversion.CompareResourceVersion(a.GetResourceVersion(), b.GetResourceVersion())
	return err == nil && order < 0
}

type ownStatusWrites struct {
	client.SubResourceWriter
	own *ownWrites
}

// Patch remembers what the API server made of it.
func (s ownStatusWrites) Patch(ctx context.Context, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
	if err := s.SubResourceWriter.Patch(ctx, obj, patch, opts...); err != nil {
		return err
	}
	if req, ok := obj.(*v1alpha1.AccessRequest); ok {
		s.own.written.Add(req.UID, req.DeepCopy())
	}
	return nil
}
