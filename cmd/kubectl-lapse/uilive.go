// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// watchAgainAfter is the pause after which a watch is begun again that could not go on, as
// without a permission.
const watchAgainAfter = 5 * time.Second

// live are the requests that are not over, kept up to date by one watch for all pages.
type live struct {
	mu       sync.Mutex
	known    map[types.UID]*v1alpha1.AccessRequest
	again    map[types.UID]bool // seen since the watch was begun anew; nil once all was told
	revision int
	trouble  error
	// ready is closed once it is known what there is, or why it is not.
	ready func()
	told  <-chan struct{}
}

func newLive() *live {
	told := make(chan struct{})
	return &live{known: map[types.UID]*v1alpha1.AccessRequest{}, told: told, ready: sync.OnceFunc(func() { close(told) })}
}

// unfinishedOnly selects what is not over: in a cluster most of what there is is a record.
func unfinishedOnly() fields.Selector {
	all := make([]fields.Selector, 0, 4)
	for _, state := range []v1alpha1.RequestState{
		v1alpha1.StateExpired, v1alpha1.StateReturned, v1alpha1.StateDenied, v1alpha1.StateRevoked,
	} {
		all = append(all, fields.OneTermNotEqualSelector("status.state", string(state)))
	}
	return fields.AndSelectors(all...)
}

// follow keeps them up to date until ctx ends.
func (l *live) follow(ctx context.Context, p *plugin, c *cluster, namespace string) {
	for ctx.Err() == nil {
		l.begin()
		for seen := range p.changes(ctx, c, namespace, unfinishedOnly()) {
			l.see(seen)
		}
		pause(ctx, watchAgainAfter)
	}
}

func (l *live) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.again = map[types.UID]bool{}
}

func (l *live) see(seen change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seen.err == nil || l.trouble == nil { // while it goes on, an error is nothing new
		l.revision++
	}
	switch {
	case seen.err != nil:
		l.trouble = seen.err
		l.ready()
	case seen.kind == watch.Bookmark:
		l.trouble = nil
		l.forget()
		l.ready()
	case seen.kind == watch.Deleted || seen.req.Status.State.Final():
		delete(l.known, seen.req.UID)
	default:
		seen.req.ManagedFields = nil // which nobody is shown, and which are half of it
		l.known[seen.req.UID] = seen.req
		if l.again != nil {
			l.again[seen.req.UID] = true
		}
	}
}

// correct is see for what is known: the watch would never take out anything else.
func (l *live) correct(seen change) {
	l.mu.Lock()
	_, there := l.known[seen.req.UID]
	l.mu.Unlock()
	if there {
		l.see(seen)
	}
}

// forget drops what went while nobody watched.
func (l *live) forget() {
	if l.again == nil {
		return
	}
	for uid := range l.known {
		if !l.again[uid] {
			delete(l.known, uid)
		}
	}
	l.again = nil
}

// look waits until it is known what there is, and copies it. Whoever gets it changes no request.
func (l *live) look(ctx context.Context) (requests []v1alpha1.AccessRequest, revision int, trouble error) {
	select {
	case <-l.told:
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	requests = make([]v1alpha1.AccessRequest, 0, len(l.known))
	for _, req := range l.known {
		requests = append(requests, *req)
	}
	return requests, l.revision, l.trouble
}

// at is how much has changed so far.
func (l *live) at() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.revision
}
