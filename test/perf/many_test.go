// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package perf

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

const (
	// manyActive is by how many requests access is held, unless ACTIVE says another number. Twice
	// as many are over.
	manyActive = 100_000
	// manyMemory is the limit of memory, in bytes, that the manager is given for that.
	manyMemory = 1 << 30
	// manyOverdue of the grants end while no manager runs, and manyDue soon after the next one
	// began, from dueAfter on, dueEach in a second.
	manyOverdue, manyDue, dueEach = 100, 600, 10
	dueAfter                      = 30 * time.Second
)

// BenchmarkMany measures whether the largest cluster that is promised still ends access on time:
// how long a manager takes until it is ready, when it ends what is overdue, how late what ends
// meanwhile does, and how much memory that takes. The requests are copies of two that were
// really made, written straight into etcd: to ask for as many takes most of an hour. It prints
// Markdown and is meant for -benchtime 1x.
func BenchmarkMany(b *testing.B) {
	ctx := b.Context()
	l := newLoad(ctx, b)
	l.within(manyMemory)
	defer func() { fmt.Println(l) }() // also what was measured before something fails
	for b.Loop() {
		m := newMany(ctx, l)
		m.fill(ctx)
		begun := l.launch(ctx)
		l.ready(ctx)
		l.note("first start to ready, s", time.Since(begun).Seconds())
		l.noteMemory("once all records are told", l.settle(ctx))
		l.peak("RSS at the most, at the first start, MiB")
		l.stop(l.manager)
		m.restart(ctx)
	}
	b.ReportMetric(0, "ns/op")
}

// peak notes how much of the manager was resident at the most.
func (l *load) peak(name string) {
	l.Helper()
	rss, err := l.manager.PeakMemory()
	check(l.B, err)
	l.note(name, mebibytes(rss))
}

// many are requests, by their numbers: those by which access is held, and then those that are
// over.
type many struct {
	*load
	active     int
	held, over *original
	in         []string
}

// newMany has the two requests that all are copies of. No manager runs afterwards: it would see
// each copy by itself.
func newMany(ctx context.Context, l *load) *many {
	l.launch(ctx)
	l.ready(ctx)
	m := &many{
		load: l, active: howMany(l.B), in: l.namespaces(ctx, wide),
		held: l.original(ctx, 4*time.Hour, v1alpha1.StateActive), over: l.original(ctx, 10*time.Second, v1alpha1.StateExpired),
	}
	l.stop(l.manager)
	return m
}

func howMany(b *testing.B) int {
	b.Helper()
	said := os.Getenv("ACTIVE")
	if said == "" {
		return manyActive
	}
	n, err := strconv.Atoi(said)
	if err != nil || n <= manyOverdue+manyDue {
		b.Fatalf("ACTIVE=%q is no number above %d", said, manyOverdue+manyDue)
	}
	return n
}

// fill makes all but those that are to end.
func (m *many) fill(ctx context.Context) {
	began := time.Now()
	same := func(of *original) func(int) time.Time {
		return func(int) time.Time { return of.req.Status.Grant.ExpiresAt.Time }
	}
	m.copies(ctx, m.held, m.in, manyOverdue+manyDue, m.active, same(m.held))
	m.copies(ctx, m.over, m.in, m.active, 3*m.active, same(m.over))
	m.Logf("%d active and %d over were written in %s", m.active-manyOverdue-manyDue, 2*m.active, time.Since(began))
}

// restart runs a manager where some access is overdue and some ends soon, and measures when it
// does.
func (m *many) restart(ctx context.Context) {
	now := time.Now().Truncate(time.Second)
	end := func(n int) time.Time {
		if n < manyOverdue {
			return now.Add(-time.Minute)
		}
		return now.Add(dueAfter + time.Duration((n-manyOverdue)/dueEach)*time.Second)
	}
	m.copies(ctx, m.held, m.in, 0, manyOverdue+manyDue, end)
	watched, stop := context.WithCancel(ctx)
	defer stop()
	ended := m.watch(watched, &rbacv1.RoleBindingList{}, released)
	begun := m.launch(ctx)
	m.ready(ctx)
	m.note("start to ready, s", time.Since(begun).Seconds())
	ended.await(ctx, m.B, manyOverdue+manyDue)
	gone := func(n int) time.Time { return ended.of(ctx, m.B, uidOf(n)) }

	overdue, due := make([]time.Duration, 0, manyOverdue), make([]time.Duration, 0, manyDue)
	for n := range manyOverdue {
		overdue = append(overdue, gone(n).Sub(begun))
	}
	for n := manyOverdue; n < manyOverdue+manyDue; n++ {
		due = append(due, gone(n).Sub(end(n)))
	}
	m.note("the first overdue end after the start, s", slices.Min(overdue).Seconds())
	m.note(fmt.Sprintf("the last of %d overdue ends after the start, s", manyOverdue), slices.Max(overdue).Seconds())
	m.note("ends after a start, late, p50, ms", milliseconds(quantile(due, 0.5)))
	m.note("ends after a start, late, p99, ms", milliseconds(quantile(due, 0.99)))
	m.note("ends after a start, late, the latest, ms", milliseconds(slices.Max(due)))
	if early := slices.Min(due); early < 0 {
		m.Errorf("access ended %s early", -early)
	}
	m.noteMemory("after a restart", m.settle(ctx))
	m.peak("RSS at the most, at a restart, MiB")
}
