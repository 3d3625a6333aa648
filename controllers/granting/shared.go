// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"errors"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// NewCache is for manager.Options. The cache has the RoleBindings of another one, that of
// what ends access: to watch and to keep them twice would cost memory for each grant.
func NewCache(roleBindings cache.Cache) cache.NewCacheFunc {
	return func(config *rest.Config, o cache.Options) (cache.Cache, error) {
		own, err := cache.New(config, o)
		if err != nil {
			return nil, err
		}
		return &sharedCache{Cache: own, roleBindings: roleBindings}, nil
	}
}

type sharedCache struct {
	cache.Cache
	roleBindings cache.Cache

	mu      sync.Mutex
	stopped bool
	letGo   []func()
}

func (c *sharedCache) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	if _, is := obj.(*rbacv1.RoleBinding); is {
		return c.roleBindings.Get(ctx, key, obj, opts...)
	}
	return c.Cache.Get(ctx, key, obj, opts...)
}

func (c *sharedCache) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if _, is := list.(*rbacv1.RoleBindingList); is {
		return c.roleBindings.List(ctx, list, opts...)
	}
	return c.Cache.List(ctx, list, opts...)
}

func (c *sharedCache) GetInformer(ctx context.Context, obj client.Object, opts ...cache.InformerGetOption) (cache.Informer, error) {
	if _, is := obj.(*rbacv1.RoleBinding); !is {
		return c.Cache.GetInformer(ctx, obj, opts...)
	}
	informer, err := c.roleBindings.GetInformer(ctx, obj, opts...)
	if err != nil {
		return nil, err
	}
	return &borrowed{Informer: informer, by: c}, nil
}

func (c *sharedCache) WaitForCacheSync(ctx context.Context) bool {
	return c.roleBindings.WaitForCacheSync(ctx) && c.Cache.WaitForCacheSync(ctx)
}

// Start also takes its handlers from what it shares when it ends: there may be another
// manager after it, and the informer outlives both.
func (c *sharedCache) Start(ctx context.Context) error {
	defer c.stop()
	return c.Cache.Start(ctx)
}

func (c *sharedCache) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	for _, letGo := range c.letGo {
		letGo()
	}
}

// borrowed is an informer of another cache.
type borrowed struct {
	cache.Informer
	by *sharedCache
}

// AddEventHandlerWithOptions is what controller-runtime adds its handlers by.
func (b *borrowed) AddEventHandlerWithOptions(h toolscache.ResourceEventHandler, o toolscache.HandlerOptions) (toolscache.ResourceEventHandlerRegistration, error) {
	b.by.mu.Lock()
	defer b.by.mu.Unlock()
	if b.by.stopped {
		return nil, errors.New("the cache was stopped")
	}
	added, err := b.Informer.AddEventHandlerWithOptions(h, o)
	if err == nil {
		b.by.letGo = append(b.by.letGo, func() { _ = b.RemoveEventHandler(added) }) //nolint:errcheck // client-go returns none
	}
	return added, err
}
