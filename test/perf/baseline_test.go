// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package perf

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

// The plain writes that all else is compared with, and plain reads.
const (
	creates     = "R: RoleBindings created in a second, 16 at once"
	deletes     = "D: RoleBindings deleted in a second, 16 at once"
	createTakes = "L: one created, p50, ms"
	createShown = "L_yes: one created, until a watch shows it, p50, ms"
	deleteTakes = "L_del: one deleted, p50, ms"
)

// baseline writes RoleBindings as an admin, to nobody's rights.
func (l *load) baseline(ctx context.Context) {
	ns := l.namespace(ctx)
	named := func(i int) client.Object {
		return builders.Binding(ns, fmt.Sprintf("plain-%04d", i), "reader", builders.User("nobody"))
	}
	created, shown := make([]time.Duration, 0, singles), make([]time.Duration, 0, singles)
	deleted, got := make([]time.Duration, 0, singles), make([]time.Duration, 0, singles)
	watched, stop := context.WithCancel(ctx)
	made := l.watch(watched, &rbacv1.RoleBindingList{}, added)
	for i := range singles {
		one, begun := named(i), time.Now()
		created = append(created, timed(func() { check(l.B, l.admin.Create(ctx, one)) }))
		shown = append(shown, made.of(ctx, l.B, one.GetUID()).Sub(begun))
		deleted = append(deleted, timed(func() { check(l.B, l.admin.Delete(ctx, named(i))) }))
	}
	stop()
	l.note(createTakes, milliseconds(quantile(created, 0.5)))
	l.note(createShown, milliseconds(quantile(shown, 0.5)))
	l.note(deleteTakes, milliseconds(quantile(deleted, 0.5)))
	many := func(do func(i int)) float64 { return burst / timed(func() { each(l.B, burst, atOnce, do) }).Seconds() }
	l.note(creates, many(func(i int) { check(l.B, l.admin.Create(ctx, named(i))) }))
	read := func(i int) { check(l.B, l.admin.Get(ctx, client.ObjectKeyFromObject(named(i)), &rbacv1.RoleBinding{})) }
	for i := range singles {
		got = append(got, timed(func() { read(i) }))
	}
	l.note("one read, p50, L", milliseconds(quantile(got, 0.5))/l.last(createTakes))
	l.note("reads in a second, 16 at once, of R", many(read)/l.last(creates))
	l.note(deletes, many(func(i int) { check(l.B, l.admin.Delete(ctx, named(i))) }))
}

// least measures what a grant costs at the least, of R: somebody asks, a RoleBinding is written
// and status says so, without a look at anything, and while no operator runs. Nobody can be
// granted faster by the same writes.
func (l *load) least(ctx context.Context) {
	plain, ns := l.namespace(ctx), l.namespace(ctx)
	bind := func(ns string, i int) {
		check(l.B, l.admin.Create(ctx, builders.Binding(ns, fmt.Sprintf("plain-%04d", i), "reader", builders.User("nobody"))))
	}
	own := operator.NewClient(l.B, operator.OwnConfig(ctx, l.B, l.plane))
	says := client.RawPatch(types.MergePatchType, []byte(`{"status":{"state":"Pending"}}`))
	raw := timed(func() { each(l.B, burst, atOnce, func(i int) { bind(plain, i) }) })
	all := timed(func() {
		each(l.B, burst, atOnce, func(i int) {
			req := l.ask(ctx, ns, i)
			bind(ns, i)
			check(l.B, own.Status().Patch(ctx, req, says))
		})
	})
	l.note("asked, bound and said in a second by clients that look at nothing, of R", raw.Seconds()/all.Seconds())
	check(l.B, l.admin.DeleteAllOf(ctx, &v1alpha1.AccessRequest{}, client.InNamespace(ns)))
}

// leastInTurn measures what a yes and a revocation take at the least, one after the other: by
// clients that go on as soon as a watch shows what they wait for, and look at nothing.
func (l *load) leastInTurn(ctx context.Context) {
	ns := l.namespace(ctx)
	own := operator.NewClient(l.B, operator.OwnConfig(ctx, l.B, l.plane))
	says := client.RawPatch(types.MergePatchType, []byte(`{"status":{"state":"Pending"}}`))
	plain, asked := make([]time.Duration, 0, singles), make([]time.Duration, 0, singles)
	yes, revoked := make([]time.Duration, 0, singles), make([]time.Duration, 0, singles)
	watched, stop := context.WithCancel(ctx)
	defer stop()
	requests, decisions := l.watch(watched, &v1alpha1.AccessRequestList{}, added), l.watch(watched, &v1alpha1.AccessDecisionList{}, added)
	made, gone := l.watch(watched, &rbacv1.RoleBindingList{}, added), l.watch(watched, &rbacv1.RoleBindingList{}, deleted)
	bind := func(name string) *rbacv1.RoleBinding {
		rb := builders.Binding(ns, name, "reader", builders.User("nobody"))
		check(l.B, l.admin.Create(ctx, rb))
		return rb
	}
	for i := range singles {
		begun := time.Now()
		plain = append(plain, made.of(ctx, l.B, bind(fmt.Sprintf("plain-%04d", i)).UID).Sub(begun))

		begun = time.Now()
		req := l.ask(ctx, ns, i)
		asked = append(asked, requests.of(ctx, l.B, req.UID).Sub(begun))
		rb := bind(fmt.Sprintf("asked-%04d", i))
		yes = append(yes, made.of(ctx, l.B, rb.UID).Sub(begun))

		begun = time.Now()
		decision := builders.Decision(req.Name, req, v1alpha1.VerdictRevoke)
		check(l.B, l.owner.Create(ctx, decision))
		decisions.of(ctx, l.B, decision.UID)
		check(l.B, own.Status().Patch(ctx, req, says))
		check(l.B, l.admin.Delete(ctx, rb))
		revoked = append(revoked, gone.of(ctx, l.B, rb.UID).Sub(begun))
	}
	unit := milliseconds(quantile(plain, 0.5))
	l.note("asked, until a watch shows it, while no operator runs, p50, L_yes", milliseconds(quantile(asked, 0.5))/unit)
	l.note("asked and bound by clients that look at nothing, p50, L_yes", milliseconds(quantile(yes, 0.5))/unit)
	l.note("asked and bound by clients that look at nothing, p99, L_yes", milliseconds(quantile(yes, 0.99))/unit)
	l.note("revoked by clients that look at nothing, p99, ms", milliseconds(quantile(revoked, 0.99)))
	check(l.B, l.admin.DeleteAllOf(ctx, &v1alpha1.AccessRequest{}, client.InNamespace(ns)))
}

func timed(do func()) time.Duration {
	begun := time.Now()
	do()
	return time.Since(begun)
}

// each does something for 0 to n-1, some at once. A check that fails in there ends its goroutine
// alone, so the others are stopped, and then the benchmark.
func each(b *testing.B, n, atOnce int, do func(i int)) {
	b.Helper()
	var all sync.WaitGroup
	for worker := range atOnce {
		all.Go(func() {
			for i := worker; i < n && !b.Failed(); i += atOnce {
				do(i)
			}
		})
	}
	all.Wait()
	if b.Failed() {
		b.FailNow()
	}
}
