// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

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
	takes := slowAfter
	started, release, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	f := newFair(reconcile.Func(func(context.Context, ctrl.Request) (ctrl.Result, error) {
		if takes > 0 {
			clock.Step(takes)
			return ctrl.Result{}, nil
		}
		started <- struct{}{}
		<-release
		return ctrl.Result{}, nil
	}), clock, newSlowIn(clock), 2)
	look := func(namespace string) ctrl.Result {
		result, err := f.Reconcile(t.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: "x"}})
		if err != nil {
			t.Error(err)
		}
		return result
	}
	begin := func(namespace string) {
		t.Helper()
		go func() {
			look(namespace)
			ended <- struct{}{}
		}()
		select {
		case <-started:
		case <-ended:
			t.Fatalf("there was no worker for %s", namespace)
		}
	}
	end := func(n int) {
		for range n {
			release <- struct{}{}
			<-ended
		}
	}

	look("slow")
	takes = slowAfter - 1
	look("quick")
	takes = 0
	begin("slow")
	begin("slow")
	if got := look("slow").RequeueAfter; got < fairRetry || got > (1+fairSpread)*fairRetry {
		t.Errorf("a third one at once is looked at after %s", got)
	}
	for range 3 {
		begin("quick")
	}
	end(5)

	begin("slow") // what ended makes room
	begin("slow")
	clock.Step(slowFor + 1)
	begin("slow") // and it is forgotten
	end(3)
	if len(f.busy) != 0 {
		t.Errorf("still busy: %v", f.busy)
	}
}
