// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package seats bounds how many attempts are under way, so that those that hang in one
// namespace, as where a webhook swallows calls, keep none waiting in another.
package seats

import (
	"context"
	"errors"
	"sync"
	"time"

	utilcache "k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

const (
	// turnedAwayFor is how long a namespace in which an attempt found no slow seat counts as
	// slow.
	turnedAwayFor = 5 * time.Second
	// dragsFor is how long a namespace stands behind others in which an attempt was not brief.
	dragsFor = 5 * time.Second
	// urgentRetry is when what is urgent and found no seat is looked at again, at the
	// earliest; at the latest after ten times that.
	urgentRetry = 100 * time.Millisecond
	// otherRetry is when what is not urgent and found no seat is looked at again, at the
	// earliest; at the latest after ten times that.
	otherRetry  = time.Second
	retrySpread = 9
)

// Options are how many seats there are, and when an attempt moves.
type Options struct {
	Clock clock.WithDelayedExecution
	// Quick seats are for all attempts. Slow ones are for those that took longer than
	// SlowAfter, which go on there, and for what else begins in their namespaces meanwhile.
	Quick, Slow int
	// Rest is how many of the slow ones are for what is not urgent.
	Rest      int
	SlowAfter time.Duration
	// Brief is shorter than an attempt after which what waits in its namespace stands behind all
	// others, with the priority Behind at the most: a thousand attempts that each take nearly
	// SlowAfter would keep them waiting. Zero is for never.
	Brief  time.Duration
	Behind int
	// Urgent says whether access goes on until an object is looked at.
	Urgent func(context.Context, ctrl.Request) bool
}

// Workers are as many as there are seats.
func (o Options) Workers() int { return o.Quick + o.Slow }

// Seated is a reconciler each of whose attempts has a seat.
type Seated struct {
	Options
	reconciler reconcile.Reconciler
	quick      chan struct{}

	mu    sync.Mutex
	queue Queue
	slow  map[share]int
	// turnedAway are shares of which an attempt found no slow seat.
	turnedAway *utilcache.Expiring
	// drags are namespaces in which an attempt was not brief lately.
	drags *utilcache.Expiring
}

// share is what has a share of the slow seats: a namespace, and in it what is urgent.
type share struct {
	namespace string
	urgent    bool
}

// New gives a reconciler its seats.
func New(r reconcile.Reconciler, o Options) *Seated {
	return &Seated{
		Options: o, reconciler: r, quick: make(chan struct{}, o.Quick), slow: map[share]int{},
		turnedAway: utilcache.NewExpiringWithClock(o.Clock), drags: utilcache.NewExpiringWithClock(o.Clock),
	}
}

// Reconcile has the reconciler look at an object, or says when there may be a seat. Whoever
// calls it has taken a quick seat, as the queue does.
func (s *Seated) Reconcile(ctx context.Context, key ctrl.Request) (ctrl.Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a := &attempt{of: s}
	defer a.leave()
	if who, slow := s.isSlow(ctx, key); slow {
		if !a.move(who) {
			return who.later(), nil
		}
	} else {
		moving := s.Clock.AfterFunc(s.SlowAfter, func() { s.moveOrCancel(ctx, cancel, key, a) })
		defer moving.Stop()
	}
	began := s.Clock.Now()
	result, err := s.reconciler.Reconcile(ctx, key)
	if s.Brief > 0 && s.Clock.Since(began) >= s.Brief {
		s.drags.Set(key.Namespace, nil, dragsFor)
	}
	if err != nil && errors.Is(context.Cause(ctx), errNoSeat) {
		who := s.shareOf(ctx, key)
		s.turnedAway.Set(who, nil, turnedAwayFor)
		return who.later(), nil
	}
	return result, err
}

// errNoSeat is why an attempt is cancelled that found no slow seat.
var errNoSeat = errors.New("there is no slow seat for it")

func (s *Seated) moveOrCancel(ctx context.Context, cancel context.CancelCauseFunc, key ctrl.Request, a *attempt) {
	if ctx.Err() != nil {
		return // it is over
	}
	moved := a.move(s.shareOf(ctx, key))
	if !moved {
		cancel(errNoSeat)
	}
	log.FromContext(ctx).Info("the API server is slow in this namespace; look for a webhook that does not answer", "after", s.SlowAfter.String(), "goesOn", moved)
}

func (s *Seated) shareOf(ctx context.Context, key ctrl.Request) share {
	return share{key.Namespace, s.Urgent(ctx, key)}
}

// later is for what found no slow seat.
func (who share) later() ctrl.Result {
	retry := otherRetry
	if who.urgent {
		retry = urgentRetry
	}
	return ctrl.Result{RequeueAfter: wait.Jitter(retry, retrySpread)}
}

// isSlow says whether attempts like this one are on slow seats, or found none lately. What
// is urgent does not go by what is not.
func (s *Seated) isSlow(ctx context.Context, key ctrl.Request) (who share, slow bool) {
	urgent, rest := share{key.Namespace, true}, share{key.Namespace, false}
	bySeats, byRest := s.slowly(urgent), s.slowly(rest)
	if !bySeats && !byRest {
		return share{}, false
	}
	who = s.shareOf(ctx, key)
	return who, bySeats || !who.urgent
}

func (s *Seated) slowly(who share) bool {
	if _, turned := s.turnedAway.Get(who); turned {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.slow[who] > 0
}

// room says whether there is a slow seat for a share, which has at most half of what the
// others leave free.
func (s *Seated) room(who share) bool {
	free, rest := s.Slow, s.Rest
	for other, n := range s.slow {
		free -= n
		if !other.urgent {
			rest -= n
		}
	}
	if !who.urgent {
		free = min(free, rest)
	}
	return s.slow[who] < free
}

// attempt is one that has a seat. The mutex of the seats guards it.
type attempt struct {
	of *Seated
	// slow is the share that its seat belongs to; nil if that is a quick one.
	slow *share
	over bool
}

// move gives the quick seat back for a slow one, and says whether there was one.
func (a *attempt) move(who share) bool {
	s := a.of
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case a.over:
		return true
	case !s.room(who):
		return false
	}
	a.slow = &who
	s.slow[who]++
	<-s.quick
	return true
}

// leave gives the seat back.
func (a *attempt) leave() {
	s := a.of
	s.mu.Lock()
	defer s.mu.Unlock()
	a.over = true
	switch {
	case a.slow == nil:
		<-s.quick
	case s.slow[*a.slow] == 1:
		delete(s.slow, *a.slow)
	default:
		s.slow[*a.slow]--
	}
}
