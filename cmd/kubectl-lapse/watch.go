// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/liggitt/tabwriter"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// redrawEvery is how often remaining times are drawn anew.
const redrawEvery = time.Second

// watching is `kubectl lapse get --watch`.
type watching struct {
	*getOptions
	c      *cluster
	screen *screen
	known  map[types.UID]*v1alpha1.AccessRequest
	rows   *tabwriter.Writer // once there is one that is appended
	synced bool
}

// follow shows what changes until ctx ends, which is no error.
func (o *getOptions) follow(ctx context.Context, c *cluster) error {
	if len(o.names) > 1 {
		return fmt.Errorf("--watch follows one request or all of them; name one, or none")
	}
	where := fields.Everything()
	if len(o.names) == 1 {
		where = named(o.names[0])
	}
	w := &watching{getOptions: o, c: c, screen: newScreen(o.Out), known: map[types.UID]*v1alpha1.AccessRequest{}}
	ticker := time.NewTicker(redrawEvery)
	defer ticker.Stop()
	changes := o.changes(ctx, c, o.where(), where)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := w.redraw(ctx); err != nil {
				return err
			}
		case change, open := <-changes:
			if !open {
				return nil
			}
			if err := w.see(ctx, change); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

func (w *watching) see(ctx context.Context, seen change) error {
	switch {
	case seen.last:
		return seen.err
	case seen.kind == watch.Error:
		w.screen.clear()
		w.say("%s; trying again", w.explain(seen.err))
		return nil
	case seen.kind == watch.Bookmark:
		w.synced = true
		return w.redraw(ctx)
	}
	if w.synced {
		w.policies = nil // policies are read anew when something changes, not at every redraw
	}
	_, shown := w.known[seen.req.UID]
	keep, err := w.wanted(ctx, seen)
	if err != nil {
		return err
	}
	if !keep {
		delete(w.known, seen.req.UID)
	} else {
		w.known[seen.req.UID] = seen.req
	}
	if w.screen.live() && w.output.human() {
		return w.redraw(ctx)
	}
	// What leaves the selection is told once more, so that its end is seen.
	if keep || shown {
		return w.append(ctx, seen.req)
	}
	return nil
}

// wanted says whether the flags ask for a request as it is now. With --for-me that takes the
// decisions on it, for which it goes on asking while the API server is away. Whatever changes the
// answer, such as a word that counts or the end of its time, changes the request.
func (w *watching) wanted(ctx context.Context, seen change) (bool, error) {
	if seen.kind == watch.Deleted || !w.keeps(seen.req) || w.waiting && !pending(seen.req) {
		return false, nil
	}
	for w.waiting {
		kept, err := w.forMe(ctx, w.c, []v1alpha1.AccessRequest{*seen.req})
		_, ended := errors.AsType[*exitError](err)
		switch {
		case err == nil:
			return len(kept) > 0, nil
		case ended, !passing(err), ctx.Err() != nil:
			return false, err
		}
		w.screen.clear()
		w.say("%s; trying again", w.explain(err))
		pause(ctx, reconnectAfter)
	}
	return true, nil
}

// append prints one request below those before it.
func (w *watching) append(ctx context.Context, req *v1alpha1.AccessRequest) error {
	if !w.output.human() {
		req.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("AccessRequest"))
		return w.print(w.output, req)
	}
	t := w.table(ctx, w.c, []v1alpha1.AccessRequest{*req})
	if w.rows == nil {
		w.rows = rowWriter(w.Out) // remembers the widths of columns
		fmt.Fprintln(w.rows, strings.Join(t.titles(), "\t"))
	}
	fmt.Fprintln(w.rows, strings.Join(t.cells(req), "\t"))
	return w.rows.Flush()
}

// redraw draws all of them anew, on a terminal.
func (w *watching) redraw(ctx context.Context) error {
	if !w.screen.live() || !w.output.human() || !w.synced {
		return nil
	}
	requests := make([]v1alpha1.AccessRequest, 0, len(w.known))
	for _, req := range w.known {
		requests = append(requests, *req)
	}
	if len(requests) == 0 {
		w.screen.draw([]string{w.nothing()})
		return nil
	}
	t := w.table(ctx, w.c, requests) // which reads the policies, by which some are more urgent
	slices.SortFunc(requests, func(a, b v1alpha1.AccessRequest) int {
		if w.waiting {
			return w.urgency(a, b)
		}
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	var b bytes.Buffer
	if err := t.print(&b, requests); err != nil {
		return err
	}
	w.screen.draw(strings.Split(strings.TrimRight(b.String(), "\n"), "\n"))
	return nil
}
