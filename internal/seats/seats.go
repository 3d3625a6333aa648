// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package seats shares the workers of a controller between namespaces, so that nothing
// waits for calls that hang in another namespace.
package seats

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
	// SlowAfter is how long an attempt takes where the API server is slow, as where a
	// webhook swallows calls or holds them up.
	SlowAfter = 2 * time.Second
	// slowFor is how long a namespace counts as slow.
	slowFor = time.Minute
	// urgentRetry is when what is urgent and found no worker is looked at again, at the
	// earliest; at the latest after ten times that.
	urgentRetry = 100 * time.Millisecond
	// otherRetry is when what is not urgent and found no worker is looked at again, at the
	// earliest; at the latest after ten times that.
	otherRetry  = time.Second
	retrySpread = 9
)

// Slow are the namespaces in which the API server was slow lately. It is safe for
// concurrent use.
type Slow struct{ namespaces *utilcache.Expiring }

// anywhere is among them while one is.
const anywhere = ""

// NewSlow knows of none yet.
func NewSlow(c clock.Clock) Slow { return Slow{utilcache.NewExpiringWithClock(c)} }

// In says whether a namespace is one of them.
func (s Slow) In(namespace string) bool {
	_, ok := s.namespaces.Get(namespace)
	return ok
}

// Anywhere says whether there is one.
func (s Slow) Anywhere() bool { return s.In(anywhere) }

// Add remembers a namespace for a minute.
func (s Slow) Add(namespace string) {
	s.namespaces.Set(namespace, nil, slowFor)
	s.namespaces.Set(anywhere, nil, slowFor)
}

// Shared is a reconciler whose workers slow namespaces share.
type Shared struct {
	reconciler reconcile.Reconciler
	clock      clock.PassiveClock
	slow       Slow
	workers    int
	urgent     func(context.Context, ctrl.Request) bool

	mu   sync.Mutex
	busy map[share]int
}

// share is what has a share of the workers.
type share struct {
	namespace string
	urgent    bool
}

// Share gives slow namespaces a share each of the workers of a reconciler. What is urgent
// in a namespace has a share of its own: access goes on until it is looked at.
func Share(r reconcile.Reconciler, c clock.PassiveClock, slow Slow, workers int, urgent func(context.Context, ctrl.Request) bool) *Shared {
	return &Shared{reconciler: r, clock: c, slow: slow, workers: workers, urgent: urgent, busy: map[share]int{}}
}

// Always is for what is urgent at all times.
func Always(context.Context, ctrl.Request) bool { return true }

// Never is for what never is.
func Never(context.Context, ctrl.Request) bool { return false }

// Reconcile has the reconciler look at an object, or says when there may be a worker.
func (s *Shared) Reconcile(ctx context.Context, key ctrl.Request) (ctrl.Result, error) {
	who := share{key.Namespace, s.slow.In(key.Namespace) && s.urgent(ctx, key)}
	if !s.enter(who) {
		retry := otherRetry
		if who.urgent {
			retry = urgentRetry
		}
		return ctrl.Result{RequeueAfter: wait.Jitter(retry, retrySpread)}, nil
	}
	defer s.leave(who)
	begun := s.clock.Now()
	result, err := s.reconciler.Reconcile(ctx, key)
	if s.clock.Since(begun) >= SlowAfter {
		s.slow.Add(key.Namespace)
	}
	return result, err
}

// enter takes a worker.
func (s *Shared) enter(who share) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.slow.In(who.namespace) && !s.room(who) {
		return false
	}
	s.busy[who]++
	return true
}

// room says whether there is a worker where it is slow. A share has no more than would be
// left for one more share, and a quarter of all is for where it is not slow.
func (s *Shared) room(who share) bool {
	shares, slow := 1, 0
	for other, n := range s.busy {
		if other != who {
			shares++
		}
		if s.slow.In(other.namespace) {
			slow += n
		}
	}
	return s.busy[who] < max(1, s.workers/(shares+1)) && slow < s.workers-s.workers/4
}

func (s *Shared) leave(who share) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[who]--; s.busy[who] == 0 {
		delete(s.busy, who)
	}
}
