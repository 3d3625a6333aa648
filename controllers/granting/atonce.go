// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"reflect"
	"sync"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// maxLookups bounds what one look reads at once. A policy may list 16 roles, all of which
// have to be there; what is above the bound is read when it is asked for.
const maxLookups = 8

// atOnce does the first and the others, and returns what the first says once all are done.
func atOnce(first func() error, others ...func()) error {
	var all sync.WaitGroup
	defer all.Wait()
	for _, other := range others {
		all.Go(other)
	}
	return first()
}

// lookup is one read past the cache.
type lookup struct {
	key client.ObjectKey
	obj client.Object
	err error
}

func lookupOfRole(namespace string, ref v1alpha1.RoleRef) *lookup {
	if ref.Kind == v1alpha1.ClusterRoleKind {
		return &lookup{key: client.ObjectKey{Name: ref.Name}, obj: &rbacv1.ClusterRole{}}
	}
	return &lookup{key: client.ObjectKey{Namespace: namespace, Name: ref.Name}, obj: &rbacv1.Role{}}
}

// lookupsFor are what a request will be judged by that the policy of that name is about to give
// access for.
func (r *RequestReconciler) lookupsFor(ctx context.Context, req *v1alpha1.AccessRequest, name string) []*lookup {
	all := []*lookup{
		{key: client.ObjectKey{Name: req.Namespace}, obj: &corev1.Namespace{}},
		{key: client.ObjectKey{Name: name}, obj: &v1alpha1.AccessPolicy{}},
		lookupOfRole(req.Namespace, req.Spec.RoleRef),
	}
	cached, err := named(ctx, r.client, name)
	if err != nil || cached == nil {
		return all
	}
	for _, ref := range cached.Spec.Roles {
		if ref.Kind == v1alpha1.ClusterRoleKind && ref != req.Spec.RoleRef && len(all) < maxLookups {
			all = append(all, lookupOfRole(req.Namespace, ref))
		}
	}
	return all
}

// lookedUp answers by what one look read already, and reads all else past the cache. What it
// gives is not to be changed.
type lookedUp struct {
	client.Reader
	lookups []*lookup
}

// reads are what has to be done before it is asked.
func (l lookedUp) reads(ctx context.Context) []func() {
	all := make([]func(), 0, len(l.lookups))
	for _, one := range l.lookups {
		all = append(all, func() { one.err = l.Reader.Get(ctx, one.key, one.obj) })
	}
	return all
}

// Get has the error, too, that a read was answered with.
func (l lookedUp) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	for _, one := range l.lookups {
		if one.key != key || reflect.TypeOf(one.obj) != reflect.TypeOf(obj) {
			continue
		}
		if one.err == nil {
			reflect.ValueOf(obj).Elem().Set(reflect.ValueOf(one.obj).Elem())
		}
		return one.err
	}
	return l.Reader.Get(ctx, key, obj, opts...)
}
