// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"sync"
	"time"

	utilcache "k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

const (
	// slowAfter is how long an attempt takes where the API server is slow, as where a
	// webhook swallows calls or holds them up, and slowFor how long that is remembered.
	slowAfter = 2 * time.Second
	slowFor   = time.Minute
	// urgentRetry and fairRetry are when what found no worker is looked at again, at the
	// earliest, and at the latest after fairSpread times more.
	urgentRetry = 100 * time.Millisecond
	fairRetry   = time.Second
	fairSpread  = 9
)

// slowIn are the namespaces in which the API server was slow lately.
type slowIn struct{ namespaces *utilcache.Expiring }

// anywhere is among them while one is.
const anywhere = ""

func newSlowIn(c clock.WithTicker) slowIn { return slowIn{utilcache.NewExpiringWithClock(c)} }

func (s slowIn) has(namespace string) bool {
	_, ok := s.namespaces.Get(namespace)
	return ok
}

func (s slowIn) add(namespace string) {
	s.namespaces.Set(namespace, nil, slowFor)
	s.namespaces.Set(anywhere, nil, slowFor)
}

// fair keeps namespaces in which the API server is slow from taking all workers of a
// controller, so that nothing waits for what hangs elsewhere.
type fair struct {
	reconcile.Reconciler
	clock   clock.PassiveClock
	slow    slowIn
	workers int
	// urgent says whether access goes on until an object is looked at, which has to end;
	// that has a part of its own. Nil is never.
	urgent func(context.Context, ctrl.Request) bool

	mu   sync.Mutex
	busy map[part]int
}

// part is what shares the workers with others of its kind.
type part struct {
	namespace string
	urgent    bool
}

func newFair(r reconcile.Reconciler, c clock.PassiveClock, slow slowIn, workers int, urgent func(context.Context, ctrl.Request) bool) *fair {
	return &fair{Reconciler: r, clock: c, slow: slow, workers: workers, urgent: urgent, busy: map[part]int{}}
}

// Reconcile has the reconciler look at an object, or says when there may be a worker.
func (f *fair) Reconcile(ctx context.Context, key ctrl.Request) (ctrl.Result, error) {
	p := part{key.Namespace, f.urgent != nil && f.slow.has(key.Namespace) && f.urgent(ctx, key)}
	if !f.enter(p) {
		retry := fairRetry
		if p.urgent {
			retry = urgentRetry
		}
		return ctrl.Result{RequeueAfter: wait.Jitter(retry, fairSpread)}, nil
	}
	defer f.leave(p)
	begun := f.clock.Now()
	result, err := f.Reconciler.Reconcile(ctx, key)
	if f.clock.Since(begun) >= slowAfter {
		f.slow.add(key.Namespace)
	}
	return result, err
}

// enter takes a worker.
func (f *fair) enter(p part) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.slow.has(p.namespace) && !f.room(p) {
		return false
	}
	f.busy[p]++
	return true
}

// room says whether there is a worker for a part where it is slow: it has no more than
// would be left for one more part, and a quarter of all is for where it is not slow.
func (f *fair) room(p part) bool {
	parts, slow := 1, 0
	for other, n := range f.busy {
		if other != p {
			parts++
		}
		if f.slow.has(other.namespace) {
			slow += n
		}
	}
	return f.busy[p] < max(1, f.workers/(parts+1)) && slow < f.workers-f.workers/4
}

func (f *fair) leave(p part) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.busy[p]--; f.busy[p] == 0 {
		delete(f.busy, p)
	}
}
