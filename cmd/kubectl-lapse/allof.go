// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/text"
)

// settledEach is how much longer the operator is given for each of many decisions.
const settledEach = 50 * time.Millisecond

// allOf ends all that one person holds, and refuses all that waits.
type allOf struct {
	*plugin
	c         *cluster
	me        *v1alpha1.Identity
	who       string // as the API server authenticates him
	namespace string // empty is all
	comment   string

	found  []*v1alpha1.AccessRequest
	open   map[types.UID]*v1alpha1.AccessRequest // decided on, and not seen to be over
	there  map[types.UID]bool                    // of those
	doubts map[types.UID]string                  // why it could not be told whether the word counts
	failed int
}

// addAllOf adds the flags of revoke that are about a person.
func (o *decideOptions) addAllOf(cmd *cobra.Command) {
	cmd.Use = "revoke {NAME... | --all-of USER [-A]} --reason TEXT"
	cmd.Long += `

With --all-of it ends all that a user asked for or gets by name, and refuses what waits. It
goes on when one fails, and then lists the RoleBindings and ClusterRoleBindings that name
him and are not Lapse's: those it leaves. It looks at no groups. Take his right to ask away
before: it ends nothing that he asks for afterwards.`
	cmd.Example += "\n  kubectl lapse revoke --all-of alice -A --reason \"her laptop was stolen\""
	cmd.Flags().StringVar(&o.allOf, "all-of", "", "User whose access ends, exactly as kubectl auth whoami prints the name; a ServiceAccount is system:serviceaccount:NAMESPACE:NAME.")
	cmd.Flags().BoolVarP(&o.everywhere, "all-namespaces", "A", false, "With --all-of: in all namespaces.")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		all := cmd.Flags().Changed("all-of")
		switch {
		case all && len(args) > 0:
			return fmt.Errorf("--all-of is about all requests of a user; leave out %s, or --all-of", text.Line(strings.Join(args, ", ")))
		case all && o.allOf == "":
			return errors.New("--all-of is empty; name a user, as kubectl auth whoami prints the name")
		case all && o.output.value != "":
			return errors.New("-o does not go with --all-of, which prints a line for each request")
		case !all && o.everywhere:
			return errors.New("--all-namespaces goes with --all-of alone; requests that are named are in one namespace")
		case all:
			return nil
		}
		return someNames(cmd, args)
	}
}

func (o *decideOptions) runAllOf(ctx context.Context) error {
	c, err := o.connect()
	if err != nil {
		return err
	}
	a := &allOf{
		plugin: o.plugin, c: c, who: o.allOf, comment: o.comment,
		open: map[types.UID]*v1alpha1.AccessRequest{}, there: map[types.UID]bool{}, doubts: map[types.UID]string{},
	}
	if !o.everywhere {
		a.namespace = o.namespace()
	}
	if a.me, err = c.whoami(ctx); err != nil {
		return err
	}
	if err := a.find(ctx); err != nil {
		return err
	}
	// All words are given before any is waited for.
	for _, req := range a.found {
		a.end(ctx, req)
	}
	a.settle(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	a.tellStanding(ctx)
	if a.failed > 0 {
		return &exitError{exitFailed, fmt.Sprintf("%d of %d failed", a.failed, len(a.found))}
	}
	return nil
}

// find looks for what is not over, what is held first.
func (a *allOf) find(ctx context.Context) error {
	list := &v1alpha1.AccessRequestList{}
	if err := a.c.list(ctx, a.namespace, list); err != nil {
		return err
	}
	for i := range list.Items {
		req := &list.Items[i]
		if !req.Status.State.Final() && policy.Involved(req, &v1alpha1.Identity{Username: a.who}) {
			a.found = append(a.found, req)
		}
	}
	slices.SortStableFunc(a.found, func(x, y *v1alpha1.AccessRequest) int { return cmp.Compare(turn(x), turn(y)) })
	if len(a.found) == 0 {
		a.say("no request by or for %q is held or waits%s; names are compared letter by letter, and a ServiceAccount is system:serviceaccount:NAMESPACE:NAME",
			a.who, a.place())
	}
	return nil
}

func turn(req *v1alpha1.AccessRequest) int {
	if req.Status.State == v1alpha1.StateActive {
		return 0
	}
	return 1
}

func (a *allOf) place() string {
	if a.namespace == "" {
		return ""
	}
	return " in namespace " + a.namespace
}

// end says no to one request. What cannot be told beforehand keeps nobody from saying it.
func (a *allOf) end(ctx context.Context, req *v1alpha1.AccessRequest) {
	if ctx.Err() != nil {
		return
	}
	verdict := a.verdict(req)
	b := &ballot{plugin: a.plugin, c: a.c, req: req, me: a.me}
	objection, doubt, err := b.objection(ctx, verdict)
	switch {
	case err != nil:
		a.doubts[req.UID] = a.explain(err)
	case objection != "":
		a.fail(req, objection)
		return
	case doubt != "":
		a.doubts[req.UID] = doubt
	}
	if _, err := a.cast(ctx, a.c, req, a.me, verdict, a.comment); err != nil {
		a.fail(req, a.explain(err))
		return
	}
	a.open[req.UID] = req
}

// verdict revokes what is held and denies what waits. What is one's own is given back:
// one's denial of it counts only where one may deny what others ask for, too.
func (a *allOf) verdict(req *v1alpha1.AccessRequest) v1alpha1.Verdict {
	if req.Status.State == v1alpha1.StateActive || policy.Involved(req, a.me) {
		return v1alpha1.VerdictRevoke
	}
	return v1alpha1.VerdictDeny
}

func (a *allOf) fail(req *v1alpha1.AccessRequest, why string) {
	a.failed++
	a.say("error: %s in %s: %s", req.Name, req.Namespace, why)
}

// settle tells what came of the decisions.
func (a *allOf) settle(ctx context.Context) {
	if len(a.open) == 0 {
		return
	}
	within := settledWithin + time.Duration(len(a.open))*settledEach
	waiting, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	why := fmt.Sprintf("it was decided, and is not over within %s: your word does not count for its policy, or the operator is away", text.Duration(within))
	for seen := range a.changes(waiting, a.c, a.namespace, fields.Everything()) {
		if seen.last && waiting.Err() == nil {
			why = "it was decided, and what came of it could not be read: " + a.explain(seen.err)
			break
		}
		if a.see(seen); len(a.open) == 0 {
			return
		}
	}
	for _, req := range a.stillOpen() {
		unsure := ""
		if doubt := a.doubts[req.UID]; doubt != "" {
			unsure = " (" + doubt + ")"
		}
		a.fail(req, fmt.Sprintf("%s%s; see kubectl lapse why %s -n %s", why, unsure, req.Name, req.Namespace))
	}
}

// stillOpen are the requests of which it is not known that they are over.
func (a *allOf) stillOpen() (open []*v1alpha1.AccessRequest) {
	for _, req := range a.found {
		if a.open[req.UID] != nil {
			open = append(open, req)
		}
	}
	return open
}

// see tells of a request that is over.
func (a *allOf) see(seen change) {
	switch {
	case seen.kind == watch.Bookmark: // what was not listed is not there
		for _, req := range a.stillOpen() {
			if !a.there[req.UID] {
				a.over(req, "deleted")
			}
		}
	case seen.req == nil || a.open[seen.req.UID] == nil:
	case seen.kind == watch.Deleted:
		a.over(seen.req, "deleted")
	case seen.req.Status.State.Final():
		a.over(seen.req, stateText(seen.req)+": "+messageOf(seen.req))
	default:
		a.there[seen.req.UID] = true
	}
}

func (a *allOf) over(req *v1alpha1.AccessRequest, became string) {
	delete(a.open, req.UID)
	fmt.Fprintf(a.Out, "accessrequest.lapse.dev/%s in %s: %s\n", text.Line(req.Name), text.Line(req.Namespace), text.Line(became))
}
