// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/grant"
	"github.com/lapse-dev/lapse/internal/policy"
)

// returnOptions are those of `kubectl lapse return`.
type returnOptions struct {
	*plugin
	output  *output
	comment string
}

func (p *plugin) returnCommand() *cobra.Command {
	o := &returnOptions{plugin: p, output: newOutput("created")}
	cmd := &cobra.Command{
		Use:   "return [NAME...]",
		Short: "Give back access of your own, or withdraw what you asked for",
		Long: `Give access back before its time is over, withdraw a request that still waits, or have
one deleted that was refused, or that you took back.
Without a name it is the only access that you hold in the namespace.`,
		Example:           "  kubectl lapse return -n payments",
		ValidArgsFunction: p.completeRequests(unfinished),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.comment = o.legible(o.comment)
			if len(args) == 0 {
				return o.run(cmd.Context(), "")
			}
			return o.each(cmd.Context(), args, func(name string) error { return o.run(cmd.Context(), name) })
		},
	}
	understand(cmd, "reason", "comment")
	cmd.Flags().StringVar(&o.comment, "comment", "", "What else there is to say, one line.")
	o.output.addTo(cmd)
	return cmd
}

func (o *returnOptions) run(ctx context.Context, name string) error {
	if _, err := o.output.printer(); err != nil {
		return err
	}
	c, err := o.connect()
	if err != nil {
		return err
	}
	me, err := c.whoami(ctx)
	if err != nil {
		return err
	}
	var req *v1alpha1.AccessRequest
	if name != "" {
		req, err = o.find(ctx, c, name)
	} else {
		req, err = o.choose(ctx, c, me)
	}
	if err != nil {
		return err
	}
	return o.on(ctx, c, req, me)
}

// on gives back what was read, if it is one's own and not over.
func (o *returnOptions) on(ctx context.Context, c *cluster, req *v1alpha1.AccessRequest, me *v1alpha1.Identity) error {
	switch {
	case req.Status.State.Final() && !grant.Forgettable(req):
		return fmt.Errorf("%s is over already: %s: %s", req.Name, stateText(req), messageOf(req))
	case !policy.Involved(req, me):
		return fmt.Errorf("%s is not yours (%s) to give back: %s asked for it; to take it away, if you may: kubectl lapse revoke %s -n %s --reason \"why\"",
			req.Name, me.Username, requesterOf(req), req.Name, req.Namespace)
	}
	return o.decide(ctx, c, req, me, v1alpha1.VerdictRevoke, o.comment, o.output)
}

func requesterOf(req *v1alpha1.AccessRequest) string {
	if req.Spec.Requester == nil {
		return "somebody"
	}
	return req.Spec.Requester.Username
}

// choose finds the access that is meant when no name was given.
func (o *returnOptions) choose(ctx context.Context, c *cluster, me *v1alpha1.Identity) (*v1alpha1.AccessRequest, error) {
	held, err := heldBy(ctx, c, o.namespace(), me)
	switch {
	case err != nil:
		return nil, err
	case len(held) == 1:
		return &held[0], nil
	case len(held) > 1:
		return o.askWhich(held)
	}
	none := fmt.Sprintf("you (%s) hold no access in namespace %s", me.Username, o.namespace())
	if all, err := heldBy(ctx, c, "", me); err == nil && len(all) > 0 {
		return nil, fmt.Errorf("%s, but some in %s", none, lookIn(namespacesOf(all)))
	}
	waiting, err := waitingFor(ctx, c, o.namespace(), me)
	switch {
	case err != nil:
		return nil, err
	case len(waiting) > 0:
		return nil, fmt.Errorf("%s; to withdraw what is not granted yet, name it: %s", none, namesOf(waiting))
	}
	return nil, fmt.Errorf("%s; kubectl lapse get --mine -n %s lists what you asked for", none, o.namespace())
}

// heldBy is what somebody asked for or gets, and is held now, in a namespace; without one, in all.
func heldBy(ctx context.Context, c *cluster, namespace string, who *v1alpha1.Identity) ([]v1alpha1.AccessRequest, error) {
	return ownOf(ctx, c, namespace, who, func(state v1alpha1.RequestState) bool { return state == v1alpha1.StateActive })
}

// waitingFor is what somebody asked for or shall get, and is neither granted nor over, in a namespace.
func waitingFor(ctx context.Context, c *cluster, namespace string, who *v1alpha1.Identity) ([]v1alpha1.AccessRequest, error) {
	return ownOf(ctx, c, namespace, who, func(state v1alpha1.RequestState) bool { return state != v1alpha1.StateActive && !state.Final() })
}

// ownOf is what somebody asked for or gets, and is in a state that is wanted.
func ownOf(ctx context.Context, c *cluster, namespace string, who *v1alpha1.Identity, wanted func(v1alpha1.RequestState) bool) ([]v1alpha1.AccessRequest, error) {
	list := &v1alpha1.AccessRequestList{}
	err := c.list(ctx, namespace, list)
	return slices.DeleteFunc(list.Items, func(req v1alpha1.AccessRequest) bool {
		return !wanted(req.Status.State) || !policy.Involved(&req, who)
	}), err
}

// asksAPerson says whether there is somebody who can answer.
func (p *plugin) asksAPerson() bool {
	f, ok := p.In.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// namesOf are the names of requests, in one line.
func namesOf(requests []v1alpha1.AccessRequest) string {
	names := make([]string, 0, len(requests))
	for i := range requests {
		names = append(names, requests[i].Name)
	}
	return strings.Join(names, ", ")
}

// askWhich lets a person choose; a script has to name it.
func (o *returnOptions) askWhich(held []v1alpha1.AccessRequest) (*v1alpha1.AccessRequest, error) {
	if !o.asksAPerson() {
		return nil, fmt.Errorf("you hold several accesses in namespace %s; name one of: %s", o.namespace(), namesOf(held))
	}
	t := table{now: o.clock.now()}
	for i := range held {
		req := &held[i]
		o.say("%d) %s  %s  %s", i+1, req.Name, policy.RoleArgument(req.Spec.RoleRef), t.ends(req))
	}
	fmt.Fprintf(o.ErrOut, "which one? [1-%d] ", len(held))
	answer, err := bufio.NewReader(o.In).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(answer))
	if err != nil || n < 1 || n > len(held) {
		return nil, errors.New("nothing was given back: that is none of the numbers")
	}
	return &held[n-1], nil
}
