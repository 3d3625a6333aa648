// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package seats

import (
	"context"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func TestASlowNamespaceHasItsShareOfTheWorkers(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC))
	takes := SlowAfter
	started, release, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	f := Share(reconcile.Func(func(context.Context, ctrl.Request) (ctrl.Result, error) {
		if takes > 0 {
			clock.Step(takes)
			return ctrl.Result{}, nil
		}
		started <- struct{}{}
		<-release
		return ctrl.Result{}, nil
	}), clock, NewSlow(clock), 4, func(_ context.Context, key ctrl.Request) bool { return key.Name == "urgent" })
	look := func(namespace, name string) ctrl.Result {
		result, err := f.Reconcile(t.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}})
		if err != nil {
			t.Error(err)
		}
		return result
	}
	begin := func(namespace, name string) {
		t.Helper()
		go func() {
			look(namespace, name)
			ended <- struct{}{}
		}()
		select {
		case <-started:
		case <-ended:
			t.Fatalf("there was no worker for %s %s", name, namespace)
		}
	}
	none := func(namespace, name string, soon time.Duration) {
		t.Helper()
		if got := look(namespace, name).RequeueAfter; got < soon || got > (1+retrySpread)*soon {
			t.Errorf("what finds no worker for %s %s is looked at after %s", name, namespace, got)
		}
	}
	end := func(n int) {
		for range n {
			release <- struct{}{}
			<-ended
		}
	}

	look("slow", "a")
	takes = SlowAfter - 1
	look("quick", "a")
	takes = 0
	begin("slow", "a")
	begin("slow", "a")
	none("slow", "a", otherRetry)
	begin("slow", "urgent") // has a part of its own, of one of three
	none("slow", "urgent", urgentRetry)
	for range 3 {
		begin("quick", "a")
	}
	end(6)

	begin("slow", "a") // what ended makes room
	begin("slow", "a")
	clock.Step(slowFor + 1)
	begin("slow", "a") // and it is forgotten
	end(3)

	takes = SlowAfter
	for _, namespace := range []string{"a", "b", "c", "d"} {
		look(namespace, "a")
	}
	takes = 0
	begin("a", "a")
	begin("b", "a")
	begin("c", "a")
	none("d", "a", otherRetry) // one of four workers is for where it is not slow
	begin("quick", "a")
	end(4)
	if len(f.busy) != 0 {
		t.Errorf("still busy: %v", f.busy)
	}
}
