// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package perf

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// seen is when something was seen first of each object, by its UID.
type seen struct {
	mu   sync.Mutex
	at   map[types.UID]time.Time
	more chan struct{}
}

// watch notes when the objects of a list are first as they are wanted, from now on.
func (l *load) watch(ctx context.Context, list client.ObjectList, wanted func(watch.Event) (types.UID, bool)) *seen {
	l.Helper()
	check(l.B, l.watches.List(ctx, list, client.Limit(1)))
	from := &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.GetResourceVersion()}}
	w, err := l.watches.Watch(ctx, list, from)
	check(l.B, err)
	s := &seen{at: map[types.UID]time.Time{}, more: make(chan struct{}, 1)}
	go func() {
		for event := range w.ResultChan() {
			if uid, is := wanted(event); is {
				s.add(uid)
			}
		}
	}()
	return s
}

func (s *seen) add(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.at[uid]; !there {
		s.at[uid] = time.Now()
	}
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// await returns when n were seen, and the latest.
func (s *seen) await(ctx context.Context, b *testing.B, n int) time.Time {
	b.Helper()
	patience := loadTimeout + time.Duration(n)*eachTimeout
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		s.mu.Lock()
		count := len(s.at)
		s.mu.Unlock()
		if count >= n {
			all := s.times()
			return all[len(all)-1]
		}
		select {
		case <-s.more:
		case <-ctx.Done():
			b.Fatalf("%d of %d after %s", count, n, patience)
		}
	}
}

// times are when objects were seen, in order.
func (s *seen) times() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.at), time.Time.Compare)
}

// paces are how many were seen in a second among the first n and the last n.
func (s *seen) paces(n int) (first, last float64) {
	all := s.times()
	pace := func(of []time.Time) float64 { return float64(len(of)-1) / of[len(of)-1].Sub(of[0]).Seconds() }
	return pace(all[:n]), pace(all[len(all)-n:])
}

// of is when an object was seen.
func (s *seen) of(ctx context.Context, b *testing.B, uid types.UID) time.Time {
	b.Helper()
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	for {
		s.mu.Lock()
		at, there := s.at[uid]
		s.mu.Unlock()
		if there {
			return at
		}
		select {
		case <-s.more:
		case <-ctx.Done():
			b.Fatalf("%s was not seen after %s", uid, loadTimeout)
		}
	}
}

// added are the objects that are made.
func added(e watch.Event) (types.UID, bool) { return whose(e), e.Type == watch.Added }

// deleted are those that are gone.
func deleted(e watch.Event) (types.UID, bool) { return whose(e), e.Type == watch.Deleted }

// whose event it is; that of a watch which fails is nobody's.
func whose(e watch.Event) types.UID {
	obj, ok := e.Object.(client.Object)
	if !ok {
		return ""
	}
	return obj.GetUID()
}

// held are the requests by which access is held, as RBAC hears of it: by a watch of RoleBindings.
func held(e watch.Event) (types.UID, bool) {
	rb, ok := e.Object.(*rbacv1.RoleBinding)
	if !ok {
		return "", false
	}
	return types.UID(rb.Labels[v1alpha1.RequestUIDLabel]), e.Type == watch.Added
}

// active are the requests by which access is held, as their status says.
func active(e watch.Event) (types.UID, bool) {
	req, ok := e.Object.(*v1alpha1.AccessRequest)
	if !ok {
		return "", false
	}
	return req.UID, req.Status.State == v1alpha1.StateActive
}

// released are the requests by whose RoleBindings nobody holds a role any more.
func released(e watch.Event) (types.UID, bool) {
	rb, ok := e.Object.(*rbacv1.RoleBinding)
	if !ok {
		return "", false
	}
	return types.UID(rb.Labels[v1alpha1.RequestUIDLabel]), e.Type == watch.Deleted || len(rb.Subjects) == 0
}
