// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"fmt"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	fcache "k8s.io/client-go/tools/cache/testing"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// oneInformer is a cache with one.
type oneInformer struct {
	cache.Cache
	toolscache.SharedIndexInformer
}

func (o oneInformer) GetInformer(context.Context, client.Object, ...cache.InformerGetOption) (cache.Informer, error) {
	return o.SharedIndexInformer, nil
}

// What ends access outlives many managers that fail and are replaced.
func TestAStoppedManagerHearsOfNoBinding(t *testing.T) {
	bindings := fcache.NewFakeControllerSource()
	informer := toolscache.NewSharedIndexInformer(bindings, &rbacv1.RoleBinding{}, 0, nil)
	go informer.RunWithContext(t.Context())
	heard := make(chan string, 300)
	hears := func(who string, in cache.Informer) error {
		handler := toolscache.ResourceEventHandlerFuncs{AddFunc: func(any) { heard <- who }}
		_, err := in.AddEventHandlerWithOptions(handler, toolscache.HandlerOptions{})
		return err
	}
	manager := &sharedCache{roleBindings: oneInformer{SharedIndexInformer: informer}}
	borrowed, err := manager.GetInformer(t.Context(), &rbacv1.RoleBinding{})
	if err != nil {
		t.Fatal(err)
	}
	for who, in := range map[string]cache.Informer{"a manager": borrowed, "what ends access": informer} {
		if err := hears(who, in); err != nil {
			t.Fatal(err)
		}
	}
	bindings.Add(&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "lapse-one"}})
	for range 2 {
		<-heard
	}
	manager.stop()
	const more = 100
	for i := range more {
		bindings.Add(&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("lapse-more-", i)}})
	}
	for range more {
		if who := <-heard; who != "what ends access" {
			t.Fatalf("%s hears of a binding after it was stopped", who)
		}
	}
	if hears("a manager", borrowed) == nil {
		t.Error("a stopped manager may listen again")
	}
}
