// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package reap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// callTimeout bounds what is asked about one binding, so that one that hangs holds up the
	// others no longer.
	callTimeout = 5 * time.Second
	// askedFor is how long an operator that was asked to end access is given.
	askedFor = 10 * time.Second
	// lookEvery is the pause between two looks at what is left.
	lookEvery = 500 * time.Millisecond
	// settle is how long after grants were stopped it is looked for the last time: one may
	// be on its way for the 5 s that the operator waits, and API servers hear of it later.
	settle = 10 * time.Second
	// lookTimeout bounds the look at what is left when time is up.
	lookTimeout = 10 * time.Second
)

// Drain ends all access by Lapse, whether its time is over or not, as before Lapse is
// removed. It works without the operator.
type Drain struct {
	// Reaper lists and deletes.
	Reaper Reaper
	// Stop keeps new grants from being made. Nothing waits for it but the last look.
	Stop func(context.Context) error
	// Ask has the operator end a grant, so that it is recorded who ended it and why. It is
	// given ten seconds, and then the binding is deleted. nil asks nobody.
	Ask func(context.Context, *rbacv1.RoleBinding) error
	// Empty takes the subjects off a binding that cannot be deleted, or that something
	// keeps; nil where nobody may.
	Empty func(context.Context, *rbacv1.RoleBinding) error
	// Pause waits that long, or until the context is over.
	Pause func(context.Context, time.Duration)
	// Told is told of each binding that gives nothing any more, one at a time.
	Told func(Binding)
}

// Drained is what came of it.
type Drained struct {
	// Ended is how many gave access, and do not any more.
	Ended int
	// Left are those that still do, each with why.
	Left []Binding
	// Stopped says why new grants may be made; nil when none are.
	Stopped error
	// Unread says why it could not be told what is left; nil if it could.
	Unread error
}

// Run drains until nobody holds anything by Lapse and nothing new can come, or until the
// context is over. One that hangs or fails keeps no other from being ended, and is tried
// again.
func (d Drain) Run(ctx context.Context) Drained {
	d.Reaper.All = true
	s := &draining{Drain: d, known: map[types.UID]*attempt{}}
	stopped := make(chan error, 1)
	go func() { stopped <- d.Stop(ctx) }()
	for last := false; ; {
		held, err := s.look(ctx)
		switch {
		case ctx.Err() != nil, err == nil && len(held) == 0 && last:
			return s.sumUp(ctx, stopped, last)
		case err == nil && len(held) == 0:
			s.await(ctx, stopped)
			d.Pause(ctx, settle)
			last = ctx.Err() == nil
			continue
		}
		each(held, func(b *Binding) { b.Err = s.end(ctx, b) })
		s.told(held)
		d.Pause(ctx, lookEvery)
	}
}

// attempt is what was tried with one binding.
type attempt struct {
	binding Binding
	asked   time.Time // of the operator, and it took it; zero if it was not
	tried   bool      // to ask
	told    bool
	err     error
}

// draining is a run of Drain.
type draining struct {
	Drain
	mu    sync.Mutex
	known map[types.UID]*attempt
	stop  *error // what came of it; nil while that is not known
}

// look has what gives access now. What did and does not any more is told of: the operator
// ended it, or somebody.
func (s *draining) look(ctx context.Context) ([]Binding, error) {
	held, err := s.Reaper.due(ctx)
	if err != nil {
		return held, err
	}
	there := map[types.UID]bool{}
	for _, b := range held {
		there[b.seen.UID] = true
		s.of(b).told = false // if it was said to have ended, it did not
	}
	for uid, a := range s.known {
		if !there[uid] {
			s.tell(a)
		}
	}
	return held, nil
}

// of is what was tried with a binding until now.
func (s *draining) of(b Binding) *attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.known[b.seen.UID]
	if a == nil {
		a = &attempt{}
		s.known[b.seen.UID] = a
	}
	a.binding = b
	return a
}

// errAsked is for what is left to the operator for a moment.
var errAsked = errors.New("the operator was asked to end it, and has not yet")

// end asks the operator once, and ends the access itself where that is of no use.
func (s *draining) end(ctx context.Context, b *Binding) error {
	a := s.of(*b)
	if s.Ask != nil && !a.tried {
		a.tried = true
		if err := briefly(ctx, func(ctx context.Context) error { return s.Ask(ctx, b.seen) }); err == nil {
			a.asked = s.Reaper.Now()
		}
	}
	if !a.asked.IsZero() && s.Reaper.Now().Sub(a.asked) < askedFor {
		a.err = errAsked
		return errAsked
	}
	err := s.remove(ctx, *b)
	if ctx.Err() == nil || a.err == nil { // what kept it says more than that time is up
		a.err = err
	}
	return err
}

// remove deletes a binding, or else takes its subjects off.
func (s *draining) remove(ctx context.Context, b Binding) error {
	err := briefly(ctx, func(ctx context.Context) error { return s.Reaper.end(ctx, b) })
	if err == nil || s.Empty == nil {
		return err
	}
	if emptyErr := briefly(ctx, func(ctx context.Context) error { return s.Empty(ctx, b.seen) }); emptyErr != nil && !gone(emptyErr) {
		return fmt.Errorf("%w; and its subjects could not be taken off: %w", err, emptyErr)
	}
	return nil
}

func briefly(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return do(ctx)
}

// told tells of those that were ended.
func (s *draining) told(held []Binding) {
	for _, b := range held {
		if b.Err == nil {
			s.tell(s.of(b))
		}
	}
}

func (s *draining) tell(a *attempt) {
	if !a.told {
		a.told, a.binding.Err = true, nil
		s.Told(a.binding)
	}
}

// await waits for what stops grants, once.
func (s *draining) await(ctx context.Context, stopped <-chan error) {
	if s.stop != nil {
		return
	}
	err := errors.New("time was up before grants were stopped")
	select {
	case err = <-stopped: // also when time is up
	default:
		select {
		case err = <-stopped:
		case <-ctx.Done():
		}
	}
	s.stop = &err
}

// sumUp looks once more: time may be up, and what was said to have ended be there.
func (s *draining) sumUp(ctx context.Context, stopped <-chan error, settled bool) Drained {
	s.await(ctx, stopped)
	out := Drained{Stopped: *s.stop}
	fresh, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTimeout)
	defer cancel()
	if out.Left, out.Unread = s.look(fresh); len(out.Left) == 0 && out.Stopped == nil && !settled {
		out.Stopped = fmt.Errorf("time was up; a grant may be on its way for %s", settle)
	}
	for i := range out.Left {
		b := &out.Left[i]
		if b.Err = s.of(*b).err; b.Err == nil {
			b.Err = errors.New("time was up before it was ended")
		}
	}
	for _, a := range s.known {
		if a.told {
			out.Ended++
		}
	}
	slices.SortFunc(out.Left, func(a, b Binding) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return out
}
