// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/internal/reap"
	"github.com/lapse-dev/lapse/internal/text"
)

func (p *plugin) reapCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "reap",
		Short: "End access whose time is over, by hand",
		Long: `Delete the RoleBindings of Lapse whose time is over, in all namespaces. The operator
does that by itself; this is for when it is gone. It needs list and delete on
rolebindings.

One whose expiry cannot be read any more ends 24 hours after it was made.`,
		Example: "  kubectl lapse reap --dry-run",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return p.reap(cmd.Context(), dryRun) },
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "Say what would be deleted, and delete nothing.")
	return cmd
}

func (p *plugin) reap(ctx context.Context, dryRun bool) error {
	c, err := p.connect()
	if err != nil {
		return err
	}
	failed, what := 0, "deleted"
	if dryRun {
		what = "deleted (dry run)"
	}
	reaper := p.reaper(c)
	reaper.DryRun, reaper.Done = dryRun, func(b reap.Binding) {
		if b.Err != nil {
			failed++
			p.say("%s/%s: %s", b.Namespace, b.Name, p.explain(b.Err))
			return
		}
		over := p.clock.now().Sub(b.Deadline).Truncate(time.Second)
		fmt.Fprintf(p.Out, "rolebinding.rbac.authorization.k8s.io/%s %s in %s (%s past its time)\n", text.Line(b.Name), what, text.Line(b.Namespace), text.Duration(over))
	}
	due, err := reaper.Run(ctx)
	switch {
	case err != nil:
		return err
	case failed > 0:
		return fmt.Errorf("%d of %d RoleBindings are still there", failed, len(due))
	case len(due) == 0:
		p.say("no access is past its time")
	}
	return nil
}

// reaper goes by the API server's clock.
func (p *plugin) reaper(c *cluster) reap.Reaper {
	return reap.Reaper{RoleBindings: roleBindings{c}, Now: p.clock.now, Ceiling: defaultLimits().MaxDuration}
}

// roleBindings are for a reaper.
type roleBindings struct{ *cluster }

func (r roleBindings) List(ctx context.Context, limit int64, from string) (*rbacv1.RoleBindingList, error) {
	page := &rbacv1.RoleBindingList{}
	return page, r.listBy(ctx, "", &metav1.ListOptions{Limit: limit, Continue: from}, page)
}

func (r roleBindings) Delete(ctx context.Context, namespace, name string, uid types.UID) error {
	return r.delete(ctx, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: uid}})
}
