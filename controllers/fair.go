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
	// fairRetry is when what found no worker is looked at again, at the earliest, and at
	// the latest after fairSpread times more.
	fairRetry  = 100 * time.Millisecond
	fairSpread = 9
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

// fair keeps a namespace in which the API server is slow from taking more than some of a
// controller's workers, so that nothing waits for what hangs elsewhere.
type fair struct {
	reconcile.Reconciler
	clock clock.PassiveClock
	slow  slowIn
	share int

	mu   sync.Mutex
	busy map[string]int
}

func newFair(r reconcile.Reconciler, c clock.PassiveClock, slow slowIn, share int) *fair {
	return &fair{Reconciler: r, clock: c, slow: slow, share: share, busy: map[string]int{}}
}

// Reconcile has the reconciler look at an object, or says when there may be a worker.
func (f *fair) Reconcile(ctx context.Context, key ctrl.Request) (ctrl.Result, error) {
	if !f.enter(key.Namespace) {
		return ctrl.Result{RequeueAfter: wait.Jitter(fairRetry, fairSpread)}, nil
	}
	defer f.leave(key.Namespace)
	begun := f.clock.Now()
	result, err := f.Reconciler.Reconcile(ctx, key)
	if f.clock.Since(begun) >= slowAfter {
		f.slow.add(key.Namespace)
	}
	return result, err
}

func (f *fair) enter(namespace string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.busy[namespace] >= f.share && f.slow.has(namespace) {
		return false
	}
	f.busy[namespace]++
	return true
}

func (f *fair) leave(namespace string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.busy[namespace]--; f.busy[namespace] == 0 {
		delete(f.busy, namespace)
	}
}
