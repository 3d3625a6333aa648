// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package seats

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// room is a reconciler whose attempts last until the test lets them go.
type room struct {
	*testing.T
	*Seated
	clock          *clocktesting.FakeClock
	ended          chan error
	started, letGo chan struct{}
}

func newRoom(t *testing.T, quick, slow int) *room {
	r := &room{
		T: t, clock: clocktesting.NewFakeClock(time.Now()),
		started: make(chan struct{}), ended: make(chan error), letGo: make(chan struct{}),
	}
	hang := reconcile.Func(func(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
		r.started <- struct{}{}
		select {
		case <-r.letGo:
		case <-ctx.Done():
		}
		return ctrl.Result{}, ctx.Err()
	})
	r.Seated = New(hang, Options{
		Clock: r.clock, Quick: quick, Slow: slow, Rest: slow - slow/4, SlowAfter: time.Second,
		Urgent: func(_ context.Context, key ctrl.Request) bool { return key.Name == "urgent" },
	})
	return r
}

func (r *room) look(namespace, name string) (ctrl.Result, error) {
	r.quick <- struct{}{}
	return r.Reconcile(r.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}})
}

// begin has n attempts hang in a namespace.
func (r *room) begin(n int, namespace, name string) {
	r.Helper()
	for range n {
		go func() {
			_, err := r.look(namespace, name)
			r.ended <- err
		}()
		select {
		case <-r.started:
		case err := <-r.ended:
			r.Fatalf("there was no seat in %s: %v", namespace, err)
		}
	}
}

// none has no attempt begin, and what was looked at come again soon.
func (r *room) none(namespace, name string, soon time.Duration) {
	r.Helper()
	got, err := r.look(namespace, name)
	if err != nil || got.RequeueAfter < soon || got.RequeueAfter > (1+retrySpread)*soon {
		r.Errorf("what finds no seat for %s in %s is looked at after %s, error %v", name, namespace, got.RequeueAfter, err)
	}
}

// end lets attempts go.
func (r *room) end(n int) {
	r.Helper()
	for range n {
		r.letGo <- struct{}{}
		if err := <-r.ended; err != nil {
			r.Error(err)
		}
	}
	if len(r.slow) != 0 || len(r.quick) != 0 {
		r.Errorf("seats that nobody gave back: slow %v, quick %d", r.slow, len(r.quick))
	}
}

func TestAnAttemptThatHangsGivesItsQuickSeatBack(t *testing.T) {
	r := newRoom(t, 2, 8)
	r.begin(2, "hangs", "urgent")
	if len(r.quick) != 2 {
		t.Error("two of two quick seats are not all")
	}
	r.clock.Step(time.Second)
	if len(r.quick) != 0 {
		t.Error("they are not given back")
	}
	r.begin(1, "hangs", "urgent") // on a slow seat
	r.begin(2, "answers", "urgent")
	r.end(5)
}

func TestWhatIsQuickTakesNoSlowSeat(t *testing.T) {
	r := newRoom(t, 1, 8)
	r.begin(1, "answers", "urgent")
	r.clock.Step(time.Second - 1)
	if len(r.slow) != 0 {
		t.Errorf("slow seats taken: %v", r.slow)
	}
	r.end(1)
}

func TestANamespaceThatHangsLeavesAsManySlowSeatsAsItTakes(t *testing.T) {
	r := newRoom(t, 4, 8)
	r.begin(1, "a", "urgent")
	r.clock.Step(time.Second)
	r.begin(3, "a", "urgent")
	r.none("a", "urgent", urgentRetry)
	r.begin(2, "a", "other") // which has a share of its own
	r.none("a", "other", otherRetry)
	r.end(6)
}

func TestWhatIsNotUrgentTakesNotTheLastSlowSeats(t *testing.T) {
	r := newRoom(t, 8, 8)
	for _, namespace := range []string{"a", "b", "c"} {
		r.begin(1, namespace, "other")
	}
	r.clock.Step(time.Second)
	r.begin(1, "a", "other")
	r.begin(1, "b", "other")
	r.none("c", "other", otherRetry) // five of six are taken, and two more are for what is urgent
	r.begin(1, "c", "urgent")
	r.end(6)
}

func TestWhatFindsNoSlowSeatIsBrokenOffAndComesAgain(t *testing.T) {
	r := newRoom(t, 4, 1)
	r.begin(1, "a", "urgent")
	r.begin(1, "b", "urgent")
	r.clock.Step(time.Second)
	if err := <-r.ended; err != nil {
		t.Errorf("the second one ended with %v", err)
	}
	if len(r.quick) != 0 {
		t.Errorf("quick seats that nobody gave back: %d", len(r.quick))
	}
	r.none("b", "urgent", urgentRetry) // which takes no quick seat in vain
	r.clock.Step(turnedAwayFor / 2)
	r.none("b", "urgent", urgentRetry)
	r.clock.Step(turnedAwayFor/2 + 1) // what was not tried puts nothing off
	r.begin(1, "b", "urgent")
	r.end(2)
}

func TestWhatIsUrgentDoesNotGoByWhatIsNot(t *testing.T) {
	r := newRoom(t, 1, 4)
	r.begin(1, "a", "other")
	r.clock.Step(time.Second)
	r.begin(1, "a", "urgent")
	if len(r.quick) != 1 || len(r.slow) != 1 {
		t.Errorf("seats taken: quick %d, slow %v", len(r.quick), r.slow)
	}
	r.end(2)
}

// As where deletions are not answered, and what is done in their place takes a moment each.
func TestWhatDragsStandsBehindAllOthers(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Now())
	takes := reconcile.Func(func(_ context.Context, key ctrl.Request) (ctrl.Result, error) {
		if key.Namespace == "drags" {
			clock.Step(200 * time.Millisecond)
		}
		return ctrl.Result{}, nil
	})
	s := New(takes, Options{
		Clock: clock, Quick: 2, SlowAfter: time.Second, Brief: 200 * time.Millisecond, Behind: 7,
		Urgent: func(context.Context, ctrl.Request) bool { return true },
	})
	q := s.NewQueue("test", workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	add := func(namespace string, priority int) {
		key := reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: fmt.Sprint(priority)}}
		Enqueue(q, priorityqueue.AddOpts{Priority: &priority}, key)
	}
	order := func(n int) (out []string) {
		for range n {
			key, _ := q.Get()
			if _, err := s.Reconcile(t.Context(), key); err != nil {
				t.Error(err)
			}
			q.Done(key)
			out = append(out, key.String())
		}
		return out
	}
	check := func(want ...string) {
		t.Helper()
		if got := order(len(want)); !slices.Equal(got, want) {
			t.Errorf("order %v, want %v", got, want)
		}
	}
	add("drags", 10)
	check("drags/10")
	add("drags", 9)
	add("drags", 6)
	add("answers", 8)
	add("drags", 8)
	check("answers/8", "drags/9", "drags/8", "drags/6")
	clock.Step(dragsFor + 1)
	add("answers", 8)
	add("drags", 9)
	check("drags/9", "answers/8")
}

func TestAWorkerTakesWhatIsMostUrgentWhenThereIsASeatForIt(t *testing.T) {
	s := New(nil, Options{Clock: clocktesting.NewFakeClock(time.Now()), Quick: 1})
	q := s.NewQueue("test", workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	add := func(name string, priority int) {
		Enqueue(q, priorityqueue.AddOpts{Priority: &priority}, reconcile.Request{NamespacedName: types.NamespacedName{Name: name}})
	}
	taken := make(chan string)
	take := func() {
		key, shutdown := q.Get()
		if shutdown {
			key.Name = "over"
		}
		taken <- key.Name
	}
	add("first", 0)
	go take()
	if got := <-taken; got != "first" {
		t.Errorf("took %s first", got)
	}
	if s.Busy() {
		t.Error("it is busy while nothing waits for a seat")
	}
	add("second", 0)
	go take() // there is no seat
	add("urgent", 1)
	if err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) {
		return q.Len() == 2, nil
	}); err != nil {
		t.Fatal(err)
	}
	if !s.Busy() {
		t.Error("it is not busy while two wait for a seat")
	}
	<-s.quick
	if got := <-taken; got != "urgent" {
		t.Errorf("took %s when there was a seat", got)
	}
	go take()
	q.ShutDown()
	if got := <-taken; got != "over" {
		t.Errorf("took %s of a queue that is over", got)
	}
}
