// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package ending

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/healthz"

	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/seats"
	"github.com/lapse-dev/lapse/internal/servertime"
)

// Ending is what ends access, set up on a manager of its own: controller-runtime starts
// nothing of a manager before all of its informers have caught up, and an informer of
// requests, policies or decisions may never do that.
type Ending struct {
	due    chan event.GenericEvent
	others atomic.Pointer[Others]
	seated *seats.Seated
}

// Others is what the rest of the operator tells what ends access. It may come late, or
// fail and be replaced.
type Others struct {
	// RequestOf says what a cache knows of the request of a binding, without waiting.
	RequestOf func(context.Context, binding.Owner) binding.RequestIs
	// Elected is closed when this replica becomes the leader; nil never is.
	Elected <-chan struct{}
	// Ready says whether the rest knows what there is.
	Ready healthz.Checker
}

// alone is what there is to follow until there is another: nobody knows a request, and nobody
// is elected.
var alone = Others{
	RequestOf: func(context.Context, binding.Owner) binding.RequestIs { return binding.Unknown },
	Ready: func(*http.Request) error {
		return errors.New("what grants cannot be set up: see the log for what is wrong; access goes on ending")
	},
}

// Setup adds to the manager what ends access. The manager must have nothing else, and no
// leader election.
func Setup(mgr ctrl.Manager, clock *servertime.Clock, maxDuration time.Duration, memory binding.Memory) (*Ending, error) {
	e := &Ending{due: make(chan event.GenericEvent, maxDue)}
	e.Follow(alone)
	r := newReconciler(Options{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Clock: clock, MaxDuration: maxDuration, Memory: memory,
		RequestOf: e.requestOf, Leading: e.leading,
	})
	e.seated = newSeated(r)
	if err := setup(mgr, r, e.seated, e.due); err != nil {
		return nil, fmt.Errorf("setting up what ends access: %w", err)
	}
	return e, nil
}

// Follow listens to the rest of the operator from now on.
func (e *Ending) Follow(o Others) { e.others.Store(&o) }

// Look has a binding looked at. It never blocks an informer: what does not fit is found by
// the next sweep.
func (e *Ending) Look(key client.ObjectKey) {
	b := &rbacv1.RoleBinding{}
	b.Namespace, b.Name = key.Namespace, key.Name
	select {
	case e.due <- event.GenericEvent{Object: b}:
	default:
	}
}

// Busy says whether more grants are to end at the moment than can at once.
func (e *Ending) Busy() bool { return e.seated.Busy() }

// Ready says whether what grants knows what there is.
func (e *Ending) Ready(req *http.Request) error { return e.others.Load().Ready(req) }

func (e *Ending) requestOf(ctx context.Context, owner binding.Owner) binding.RequestIs {
	return e.others.Load().RequestOf(ctx, owner)
}

func (e *Ending) leading() bool {
	select {
	case <-e.others.Load().Elected:
		return true
	default:
		return false
	}
}
