// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package perf

import (
	"context"
	"fmt"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

const (
	// whole is how many a large company asks for at once, and wide in how many namespaces.
	whole, wide = 10_000, 200
)

// BenchmarkSize measures what many grants take: how fast they are given that are asked for at
// once, and how much memory they need while they are held, and as records. The manager has the
// memory that ships. The benchmark fails if more of it was ever resident than the limit of its
// container, and prints Markdown.
func BenchmarkSize(b *testing.B) {
	ctx := b.Context()
	l := newLoad(ctx, b)
	_, limit := shippedMemory(b)
	l.within(limit)
	defer func() { fmt.Println(l) }() // also what was measured before something fails
	for b.Loop() {
		l.launch(ctx)
		l.ready(ctx)
		l.baseline(ctx)
		empty := l.restarted(ctx)
		l.noteMemory("empty", empty)
		c := l.burst(ctx, whole, wide)
		l.noteMemory(fmt.Sprintf("of %d active, since they were granted", whole), l.settle(ctx).minus(empty))
		l.fits(limit)
		l.noteMemory(fmt.Sprintf("of %d active, after a restart", whole), l.restarted(ctx).minus(empty))
		l.fits(limit)
		l.end(ctx, c)
		l.noteMemory(fmt.Sprintf("of %d over, after a restart", whole), l.restarted(ctx).minus(empty))
		each(b, whole, atOnce, func(i int) { check(b, l.admin.Delete(ctx, c.requests[i])) })
	}
	b.ReportMetric(0, "ns/op")
}

// fits fails if more of the manager was resident at the most than a limit, in bytes.
func (l *load) fits(limit int64) {
	l.Helper()
	peak, err := l.manager.PeakMemory()
	check(l.B, err)
	if peak > limit {
		l.Fatalf("%.0f MiB of the manager were resident, and its limit is %.0f MiB", mebibytes(peak), mebibytes(limit))
	}
}

// restarted runs another manager. It returns how much memory that has once it has nothing to do:
// one that has had more to do keeps what it needed then.
func (l *load) restarted(ctx context.Context) memory {
	l.settle(ctx) // so that no record is told again
	l.launch(ctx)
	l.ready(ctx)
	return l.settle(ctx)
}

// end has somebody delete the RoleBindings of a crowd, and waits until all ends are recorded.
func (l *load) end(ctx context.Context, c crowd) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	recorded := l.watch(ctx, &v1alpha1.AccessRequestList{}, over)
	each(l.B, len(c.in), atOnce, func(i int) {
		check(l.B, l.admin.DeleteAllOf(ctx, &rbacv1.RoleBinding{}, client.InNamespace(c.in[i])))
	})
	recorded.await(ctx, l.B, len(c.requests))
}

// over are the requests that are, as their status says.
func over(e watch.Event) (types.UID, bool) {
	req, ok := e.Object.(*v1alpha1.AccessRequest)
	if !ok {
		return "", false
	}
	return req.UID, req.Status.State.Final()
}
