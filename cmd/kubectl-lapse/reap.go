// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/lapse-dev/lapse/internal/grant"
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
	due, err := p.overdue(ctx, c)
	if err != nil {
		return err
	}
	if len(due) == 0 {
		p.say("no access is past its time")
		return nil
	}
	failed := 0
	for i := range due {
		if err := p.reapOne(ctx, c, &due[i], dryRun); err != nil {
			failed++
			p.say("%s/%s: %s", due[i].Namespace, due[i].Name, p.explain(err))
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d RoleBindings are still there", failed, len(due))
	}
	return nil
}

// overdue are the RoleBindings of Lapse whose time is over by the API server's clock, as
// the reaper goes by.
func (p *plugin) overdue(ctx context.Context, c *cluster) ([]rbacv1.RoleBinding, error) {
	list := &rbacv1.RoleBindingList{}
	if err := c.list(ctx, "", list); err != nil {
		return nil, err
	}
	now := p.clock.now()
	var due []rbacv1.RoleBinding
	for i := range list.Items {
		b := &list.Items[i]
		if at, ok := grant.ReapAt(b, defaultLimits().MaxDuration); ok && !now.Before(at) {
			due = append(due, *b)
		}
	}
	return due, nil
}

// reapOne deletes exactly the binding that was seen.
func (p *plugin) reapOne(ctx context.Context, c *cluster, b *rbacv1.RoleBinding, dryRun bool) error {
	over := p.clock.now().Sub(grant.Deadline(b, defaultLimits().MaxDuration)).Truncate(time.Second)
	note := fmt.Sprintf("(%s past its time)", durationText(over))
	if dryRun {
		fmt.Fprintf(p.Out, "rolebinding.rbac.authorization.k8s.io/%s deleted (dry run) in %s %s\n", safe(b.Name), safe(b.Namespace), note)
		return nil
	}
	err := c.delete(ctx, b)
	if ignoreNotFound(err) != nil {
		return err
	}
	left := &rbacv1.RoleBinding{}
	switch err := c.get(ctx, b.Namespace, b.Name, left); {
	case apierrors.IsNotFound(err), err == nil && left.UID != b.UID:
		fmt.Fprintf(p.Out, "rolebinding.rbac.authorization.k8s.io/%s deleted in %s %s\n", safe(b.Name), safe(b.Namespace), note)
		return nil
	case err != nil:
		return fmt.Errorf("deleted, and not seen to be gone: %w", err)
	default:
		return fmt.Errorf(`finalizers keep it, and RBAC honours it until it is gone; take its subjects off: kubectl patch rolebinding -n %s %s --type=merge -p '{"subjects":null}'`, b.Namespace, b.Name)
	}
}
