// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package perf

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

// crowd is who asked at once.
type crowd struct {
	in       []string
	requests []*v1alpha1.AccessRequest
	// rate of how many were granted in a second, and given when each was.
	rate  float64
	given *seen
}

// grant has n ask at once, in new namespaces, and waits until all are granted.
func (l *load) grant(ctx context.Context, n, namespaces int) crowd {
	c := crowd{in: l.namespaces(ctx, namespaces), requests: make([]*v1alpha1.AccessRequest, n)}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	c.given = l.watch(ctx, &v1alpha1.AccessRequestList{}, active)
	begun := time.Now()
	each(l.B, n, atOnce, func(i int) { c.requests[i] = l.ask(ctx, c.in[i%namespaces], i) })
	c.rate = float64(n) / c.given.await(ctx, l.B, n).Sub(begun).Seconds()
	return c
}

// burst measures how fast many are granted that ask at once.
func (l *load) burst(ctx context.Context, n, namespaces int) crowd {
	c, where := l.grant(ctx, n, namespaces), fmt.Sprintf("%d in %d namespaces", n, namespaces)
	l.note("granted in a second, "+where, c.rate)
	l.note("the same, of R, "+where, c.rate/l.last(creates))
	l.memory("RSS after " + where + ", MiB")
	return c
}

// clear deletes the requests of a crowd, and waits until nobody holds anything by them.
func (l *load) clear(ctx context.Context, c crowd) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := l.watch(ctx, &rbacv1.RoleBindingList{}, released)
	each(l.B, len(c.requests), atOnce, func(i int) { check(l.B, l.admin.Delete(ctx, c.requests[i])) })
	ended.await(ctx, l.B, len(c.requests))
}

// paced is of how many the pace is measured, at the beginning and at the end of a burst.
const paced = 200

// crowded has some grants in one namespace, and measures what others feel there. Of many it is
// measured how fast they are given, and whether as fast at the end as at the beginning.
func (l *load) crowded(ctx context.Context, n int) crowd {
	if n < burst {
		c := l.grant(ctx, n, 1)
		l.strangers(ctx, c.in[0], n)
		return c
	}
	c := l.burst(ctx, n, 1)
	first, last := c.given.paces(paced)
	l.note(fmt.Sprintf("granted in a second, the first %d of %d in 1 namespaces", paced, n), first)
	l.note(fmt.Sprintf("granted in a second, the last %d of %d in 1 namespaces", paced, n), last)
	l.note("the last, of the first", last/first)
	l.strangers(ctx, c.in[0], n)
	return c
}

// strangers measures what others feel who write where there are some grants.
func (l *load) strangers(ctx context.Context, crowded string, grants int) {
	empty := l.namespace(ctx)
	binding := builders.Binding("", "", "reader", builders.User("nobody"))
	for _, kind := range []client.Object{&corev1.Secret{}, &corev1.ServiceAccount{}, binding} {
		object := func(ns, name string) client.Object {
			o := kind.DeepCopyObject().(client.Object)
			o.SetNamespace(ns)
			o.SetName(name)
			return o
		}
		with, without := make([]time.Duration, 0, singles), make([]time.Duration, 0, singles)
		for i := range singles {
			name := fmt.Sprint("strangers-", i)
			with = append(with, timed(func() { check(l.B, l.carol.Create(ctx, object(crowded, name))) }))
			without = append(without, timed(func() { check(l.B, l.carol.Create(ctx, object(empty, name))) }))
		}
		what := strings.TrimPrefix(fmt.Sprintf("%T", kind), "*v1.")
		l.note(fmt.Sprintf("a stranger's %s beside %d grants, times what it takes beside none, p50", what, grants),
			float64(quantile(with, 0.5))/float64(quantile(without, 0.5)))
	}
}
