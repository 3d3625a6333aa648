// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
)

// unsynced is the cache of an operator that stops before it knows what there is.
type unsynced struct{ client.Client }

func (unsynced) Get(ctx context.Context, _ client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestADecisionKeepsNoOperatorFromStopping(t *testing.T) {
	r := &RequestReconciler{client: unsynced{}, turns: newTurns()}
	ctx, stop := context.WithCancel(t.Context())
	q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer q.ShutDown()
	done := make(chan struct{})
	go func() {
		defer close(done)
		d := &v1alpha1.AccessDecision{Spec: v1alpha1.AccessDecisionSpec{Verdict: v1alpha1.VerdictDeny}}
		r.byDecision().Create(ctx, event.CreateEvent{Object: d}, q)
	}()
	stop()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("what looks at decisions goes on after the operator was stopped")
	}
}

func TestOnlyWhoMakesABindingDoesNotLookWhenHeSeesIt(t *testing.T) {
	r := &RequestReconciler{making: binding.NewUIDs()}
	q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer q.ShutDown()
	made := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{
		Namespace: "payments", Name: "lapse-debug-4602efc0",
		Labels:      map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy, v1alpha1.RequestUIDLabel: "4602efc0"},
		Annotations: map[string]string{v1alpha1.RequestAnnotation: "debug"},
	}}
	looks := func(see func(context.Context, event.CreateEvent, workqueue.TypedRateLimitingInterface[reconcile.Request])) int {
		see(t.Context(), event.CreateEvent{Object: made}, q)
		return q.Len()
	}
	r.making.Add("4602efc0")
	if n := looks(r.byBinding().Create); n != 0 {
		t.Errorf("%d looks while the grant is recorded", n)
	}
	r.making.Remove("4602efc0")
	if n := looks(r.byBinding().Create); n != 1 {
		t.Errorf("%d looks at what another replica made", n)
	}
}
