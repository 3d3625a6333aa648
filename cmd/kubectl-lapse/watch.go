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
	if o.waiting {
		return errors.New("--for-me looks once, and --watch goes on; leave one of them out")
	}
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
			if err := w.see(ctx, change); err != nil {
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
	w.policies = nil // policies are read anew when something changes, not at every redraw
	_, shown := w.known[seen.req.UID]
	keep := w.keeps(seen.req)
	if seen.kind == watch.Deleted || !keep {
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
	slices.SortFunc(requests, func(a, b v1alpha1.AccessRequest) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	if len(requests) == 0 {
		w.screen.draw([]string{w.nothing()})
		return nil
	}
	var b bytes.Buffer
	if err := w.table(ctx, w.c, requests).print(&b, requests); err != nil {
		return err
	}
	w.screen.draw(strings.Split(strings.TrimRight(b.String(), "\n"), "\n"))
	return nil
}
