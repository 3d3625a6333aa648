// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"fmt"

	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
)

// Known tells what a cache knows of the request of a binding: Unknown until the cache has
// caught up.
func Known(reader client.Reader, synced func() bool) func(context.Context, binding.Owner) binding.RequestIs {
	return func(ctx context.Context, owner binding.Owner) binding.RequestIs {
		if !synced() {
			return binding.Unknown
		}
		req := &v1alpha1.AccessRequest{}
		switch err := reader.Get(ctx, owner.Key, req); {
		case err != nil || req.UID != owner.UID:
			return binding.Missing
		case req.Status.Grant != nil || req.Status.State.Final():
			return binding.Aware
		default:
			return binding.Unaware
		}
	}
}

// WatchRequests tells what the cache of a manager knows, without waiting for it, and has
// the binding looked at of each request that is deleted.
func WatchRequests(mgr ctrl.Manager, look func(bindingKey client.ObjectKey)) (func(context.Context, binding.Owner) binding.RequestIs, error) {
	requests, err := mgr.GetCache().GetInformer(context.Background(), &v1alpha1.AccessRequest{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("watching AccessRequests: %w", err)
	}
	deleted := func(obj any) {
		if gone, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
			obj = gone.Obj
		}
		if req, ok := obj.(*v1alpha1.AccessRequest); ok {
			look(client.ObjectKey{Namespace: req.Namespace, Name: binding.Name(req)})
		}
	}
	if _, err := requests.AddEventHandler(toolscache.ResourceEventHandlerFuncs{DeleteFunc: deleted}); err != nil {
		return nil, fmt.Errorf("watching AccessRequests: %w", err)
	}
	return Known(mgr.GetClient(), requests.HasSynced), nil
}
