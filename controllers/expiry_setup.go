// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/healthz"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/grant"
	"github.com/lapse-dev/lapse/internal/metrics"
)

// endRetry is the longest pause between attempts to end access.
const endRetry = 5 * time.Second

// Expiry is what ends access, set up on a manager of its own: controller-runtime
// starts nothing of a manager before all of its informers have caught up, and an
// informer of requests, policies or decisions may never do that.
type Expiry struct {
	due   chan event.GenericEvent
	main  atomic.Pointer[view]
	burst burst
	made  *madeGrants
}

// view is what the rest of the operator tells.
type view struct {
	requests client.Reader
	synced   func() bool
	elected  <-chan struct{}
	ready    healthz.Checker
}

// SetupExpiry adds to the manager what ends access. The manager must have nothing
// else, and no leader election.
func SetupExpiry(mgr ctrl.Manager, o Options) (*Expiry, error) {
	e := &Expiry{due: make(chan event.GenericEvent, 1024), made: newMadeGrants()}
	r := &ExpiryReconciler{Options: o, Client: mgr.GetClient(), Requests: e.requests, Leading: e.leading, Ended: e.burst.add, made: e.made}
	if err := mgr.Add(sweeper{ExpiryReconciler: r, due: e.due}); err != nil {
		return nil, err
	}
	if err := metrics.Gauges(r.count(anyBinding), r.count(r.overdue), r.count(r.pinned), o.Skew); err != nil {
		return nil, err
	}
	if err := setupVanished(mgr, r); err != nil {
		return nil, err
	}
	return e, setupLanes(mgr, r, e.due)
}

// follow listens to the manager that grants, without waiting for it: it may be there
// later, or fail and be replaced.
func (e *Expiry) follow(mgr ctrl.Manager) error {
	requests, err := mgr.GetCache().GetInformer(context.Background(), &v1alpha1.AccessRequest{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watching AccessRequests: %w", err)
	}
	if _, err := requests.AddEventHandler(toolscache.ResourceEventHandlerFuncs{DeleteFunc: e.requestDeleted}); err != nil {
		return fmt.Errorf("watching AccessRequests: %w", err)
	}
	e.main.Store(&view{requests: mgr.GetClient(), synced: requests.HasSynced, elected: mgr.Elected(), ready: Ready(mgr)})
	return nil
}

// requestDeleted has the binding of a request looked at. It never blocks the informer:
// what does not fit is found by the next sweep.
func (e *Expiry) requestDeleted(obj any) {
	if gone, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	req, ok := obj.(*v1alpha1.AccessRequest)
	if !ok {
		return
	}
	b := &rbacv1.RoleBinding{}
	b.Namespace, b.Name = req.Namespace, grant.BindingName(req)
	select {
	case e.due <- event.GenericEvent{Object: b}:
	default:
	}
}

func (e *Expiry) requests() (client.Reader, bool) {
	if v := e.main.Load(); v != nil && v.synced() {
		return v.requests, true
	}
	return nil, false
}

func (e *Expiry) leading() bool {
	v := e.main.Load()
	if v == nil {
		return false
	}
	select {
	case <-v.elected:
		return true
	default:
		return false
	}
}

// Ready says whether what grants knows what there is.
func (e *Expiry) Ready(req *http.Request) error {
	v := e.main.Load()
	if v == nil {
		return errors.New("what grants cannot be set up: see the log for what is wrong; access goes on ending")
	}
	return v.ready(req)
}
