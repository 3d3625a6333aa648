// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
)

// getOptions are those of `kubectl lapse get`.
type getOptions struct {
	*plugin
	output                     *output
	names                      []string
	all, mine, pending, active bool
	waiting, watch             bool
	me                         *v1alpha1.Identity                // set with mine and waiting
	policies                   map[string]*v1alpha1.AccessPolicy // nil until a row needs them
}

func (p *plugin) getCommand() *cobra.Command {
	o := &getOptions{plugin: p, output: newOutput("", outputWide)}
	cmd := &cobra.Command{
		Use:   "get [NAME...]",
		Short: "List requests: who has what, until when, and what waits for whom",
		Long: `List access requests.

ENDS says when access ends or ended, or begins; of what waits for approval, when that
comes too late. VOTES says how many have approved and how many are needed; "?" when you
may not read the policy. On a terminal, long subjects, roles and states are cut to its
width; -o wide cuts nothing, and has begin, end and who approved.`,
		Example: `  # what waits for approval, everywhere
  kubectl lapse get -A --pending

  # what waits for your word, the most urgent first
  kubectl lapse get -A --for-me

  # the same, redrawn as it changes
  kubectl lapse get -A --for-me --watch

  # what you hold now, redrawn as it changes
  kubectl lapse get -A --mine --active --watch`,
		ValidArgsFunction: p.completeRequests(nil),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, arg := range args {
				o.names = append(o.names, requestName(arg))
			}
			return o.run(cmd.Context())
		},
	}
	cmd.Flags().BoolVarP(&o.all, "all-namespaces", "A", false, "List the requests of all namespaces.")
	cmd.Flags().BoolVar(&o.mine, "mine", false, "Only what you asked for or get.")
	cmd.Flags().BoolVar(&o.waiting, "for-me", false, "Only what waits for your approval, the least time left first.")
	cmd.Flags().BoolVar(&o.pending, "pending", false, "Only what is not granted and not over yet.")
	cmd.Flags().BoolVar(&o.active, "active", false, "Only access that is held at this moment.")
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", false, "Go on showing what changes, until Ctrl-C.")
	o.output.addTo(cmd)
	return cmd
}

func (o *getOptions) run(ctx context.Context) error {
	c, err := o.connect()
	if err != nil {
		return err
	}
	if !o.output.human() {
		if _, err := o.output.printer(); err != nil {
			return err // before anything is asked
		}
	}
	if o.mine || o.waiting {
		if o.me, err = c.whoami(ctx); err != nil {
			return err
		}
	}
	if o.watch {
		return o.follow(ctx, c)
	}
	requests, err := o.list(ctx, c)
	if err != nil {
		return err
	}
	if !o.output.human() {
		return o.print(o.output, printed(requests, len(o.names) == 1))
	}
	if len(requests.Items) == 0 {
		o.say("%s", o.nothing())
		return nil
	}
	return o.table(ctx, c, requests.Items).print(o.Out, requests.Items)
}

// printed is a single object when one was asked for by name, as kubectl has it.
func printed(list *v1alpha1.AccessRequestList, single bool) runtime.Object {
	if single && len(list.Items) == 1 {
		return &list.Items[0]
	}
	return list
}

// list reads the requests that the flags ask for, each with its kind.
func (o *getOptions) list(ctx context.Context, c *cluster) (*v1alpha1.AccessRequestList, error) {
	all := &v1alpha1.AccessRequestList{}
	if len(o.names) == 0 {
		if err := c.list(ctx, o.where(), all); err != nil {
			return nil, o.notHere(ctx, c, err)
		}
	}
	for _, name := range o.names {
		req, err := o.find(ctx, c, name)
		if err != nil {
			return nil, o.notHere(ctx, c, err)
		}
		all.Items = append(all.Items, *req)
	}
	all.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("AccessRequestList"))
	kept := all.Items[:0]
	for _, req := range all.Items {
		if o.keeps(&req) {
			req.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("AccessRequest"))
			kept = append(kept, req)
		}
	}
	all.Items = kept
	if !o.waiting {
		return all, nil
	}
	var err error
	all.Items, err = o.forMe(ctx, c, kept)
	return all, err
}

// notHere says, where requests may not be read, where they may be: most people hold their role in
// some namespaces, and few in all.
func (o *getOptions) notHere(ctx context.Context, c *cluster, err error) error {
	switch {
	case !apierrors.IsForbidden(err):
		return err
	case o.all:
		return &exitError{exitFailed, "error: " + o.explain(err) + "; or look in one namespace, with -n NAMESPACE in place of -A"}
	default:
		return o.mayAskIn(ctx, c, o.namespace(), nil, err)
	}
}

// where is the namespace to look in; empty is all of them.
func (o *getOptions) where() string {
	if o.all {
		return ""
	}
	return o.namespace()
}

// keeps says whether the flags ask for the request. They are applied here: what the
// API server can select by depends on its version.
func (o *getOptions) keeps(req *v1alpha1.AccessRequest) bool {
	state := req.Status.State
	switch {
	case o.mine && !policy.Involved(req, o.me):
		return false
	case o.pending && o.active:
		return !state.Final()
	case o.pending:
		return !state.Final() && state != v1alpha1.StateActive
	case o.active:
		return state == v1alpha1.StateActive
	default:
		return true
	}
}

// nothing says what there is none of.
func (o *getOptions) nothing() string {
	var kind []string
	if o.pending {
		kind = append(kind, "pending")
	}
	if o.active {
		kind = append(kind, "active")
	}
	text := "no " + strings.Join(append([]string{strings.Join(kind, " or ")}, "requests"), " ")
	text = strings.Join(strings.Fields(text), " ")
	if o.mine {
		text += " of yours"
	}
	if o.waiting {
		text += " that wait for your approval"
	}
	if o.all {
		return text
	}
	return text + " in namespace " + o.namespace()
}

// table knows what the requests need. Policies are read only where a row shows it.
func (o *getOptions) table(ctx context.Context, c *cluster, requests []v1alpha1.AccessRequest) table {
	for i := range requests {
		if o.policies == nil && requests[i].Status.Policy != nil && awaited(&requests[i]) {
			// Whoever may ask in a namespace does not have to know the policies.
			o.policies, _ = policiesByName(ctx, c)
		}
	}
	return table{
		now: o.clock.now(), allNamespaces: o.all, wide: o.output.value == outputWide, policies: o.policies,
		width: newScreen(o.Out).width() - 1, // the last column of a terminal is the mark's
	}
}

// policiesByName are all that there are; empty with an error.
func policiesByName(ctx context.Context, c *cluster) (map[string]*v1alpha1.AccessPolicy, error) {
	list, policies := &v1alpha1.AccessPolicyList{}, map[string]*v1alpha1.AccessPolicy{}
	if err := c.list(ctx, "", list); err != nil {
		return policies, err
	}
	for i := range list.Items {
		policies[list.Items[i].Name] = &list.Items[i]
	}
	return policies, nil
}
