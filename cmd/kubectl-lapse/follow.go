// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// reconnectAfter is the pause before a watch that broke is begun again.
const reconnectAfter = time.Second

// change is one that was seen of the requests that are followed.
type change struct {
	kind watch.EventType // Added, Modified, Deleted; Bookmark once all that there is was told; Error
	req  *v1alpha1.AccessRequest
	err  error // for Error; last says whether it is the end
	last bool
}

// changes tells all requests that there are, then what changes, until ctx ends or it
// cannot go on. A connection that breaks is made again, and what was missed is told.
func (p *plugin) changes(ctx context.Context, c *cluster, namespace string, where fields.Selector) <-chan change {
	f := &follower{c: c, namespace: namespace, where: where, out: make(chan change), seen: map[types.UID]*v1alpha1.AccessRequest{}}
	go func() {
		defer close(f.out)
		for began := false; ctx.Err() == nil; began = true {
			err := f.once(ctx)
			last := err != nil && (!began || !passing(err))
			if err != nil && !f.tell(ctx, change{kind: watch.Error, err: err, last: last}) || last {
				return
			}
			pause(ctx, reconnectAfter)
		}
	}()
	return f.out
}

// passing says whether an error may mend itself: a server that is away or overloaded.
func passing(err error) bool {
	return !apierrors.IsForbidden(err) && !unauthenticated(err) && !apierrors.IsNotFound(err) && !apierrors.IsBadRequest(err)
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

type follower struct {
	c         *cluster
	namespace string // empty is all of them
	where     fields.Selector
	out       chan change
	seen      map[types.UID]*v1alpha1.AccessRequest
}

func (f *follower) tell(ctx context.Context, c change) bool {
	select {
	case f.out <- c:
		return true
	case <-ctx.Done():
		return false
	}
}

// once lists and watches until the watch ends, which every watch does some time.
func (f *follower) once(ctx context.Context) error {
	list := &v1alpha1.AccessRequestList{}
	if err := f.c.listWhere(ctx, f.namespace, f.where, list); err != nil {
		return err
	}
	f.relist(ctx, list.Items)
	w, err := f.c.watch(ctx, f.namespace, f.where, list)
	if err != nil {
		return err
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		if event.Type == watch.Error {
			return nil // such as: too old; listed anew
		}
		req, ok := event.Object.(*v1alpha1.AccessRequest)
		if !ok {
			continue
		}
		f.note(event.Type, req)
		if !f.tell(ctx, change{kind: event.Type, req: req}) {
			return nil
		}
	}
	return nil
}

func (f *follower) note(kind watch.EventType, req *v1alpha1.AccessRequest) {
	if kind == watch.Deleted {
		delete(f.seen, req.UID)
	} else {
		f.seen[req.UID] = req
	}
}

// relist tells what is there, what is not there any more, and that this is all.
func (f *follower) relist(ctx context.Context, items []v1alpha1.AccessRequest) {
	gone := f.seen
	f.seen = map[types.UID]*v1alpha1.AccessRequest{}
	for i := range items {
		req := &items[i]
		before, known := gone[req.UID]
		delete(gone, req.UID)
		f.seen[req.UID] = req
		if !known || before.ResourceVersion != req.ResourceVersion {
			f.tell(ctx, change{kind: watch.Added, req: req})
		}
	}
	for _, req := range gone {
		f.tell(ctx, change{kind: watch.Deleted, req: req})
	}
	f.tell(ctx, change{kind: watch.Bookmark})
}
