// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package ending

import (
	"context"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/lapse-dev/lapse/internal/binding"
)

// sweepInterval is how often all managed bindings are held against the wall clock.
const sweepInterval = 15 * time.Second

// sweeper finds what timers cannot: they do not run while a machine is suspended,
// and do not notice when the clock is set. It also finds bindings whose request is
// gone. It reads the cache and writes nothing; what it finds goes to the queue.
type sweeper struct {
	r   *reconciler
	due chan<- event.GenericEvent
}

// NeedLeaderElection is false: every replica sweeps.
func (sweeper) NeedLeaderElection() bool { return false }

// Start sweeps until the context ends.
func (s sweeper) Start(ctx context.Context) error {
	for {
		if err := s.sweep(ctx); err != nil {
			log.FromContext(ctx).Error(err, "looking for bindings past their end; it is tried again")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.r.clock.Here.After(sweepInterval):
		}
	}
}

func (s sweeper) sweep(ctx context.Context) error {
	list := &rbacv1.RoleBindingList{}
	if err := s.r.client.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	now := s.r.clock.Now()
	for i := range list.Items {
		b := &list.Items[i]
		if !binding.Managed(b) || len(b.Subjects) == 0 || now.Before(s.r.deadline(b)) && !s.r.requestLost(ctx, b) {
			continue
		}
		select {
		case s.due <- event.GenericEvent{Object: b}:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}
