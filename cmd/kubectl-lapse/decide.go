// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/grant"
	"github.com/lapse-dev/lapse/internal/text"
)

// settledWithin is how long the operator is given to act on a decision; it takes some
// tens of milliseconds.
const settledWithin = 3 * time.Second

// decideOptions are those of approve, deny and revoke.
type decideOptions struct {
	*plugin
	output  *output
	verdict v1alpha1.Verdict
	comment string

	allOf      string // the user of whom all is revoked
	everywhere bool
}

func (p *plugin) decideCommand(verdict v1alpha1.Verdict) *cobra.Command {
	o := &decideOptions{plugin: p, output: newOutput("created"), verdict: verdict}
	cmd := &cobra.Command{
		Use:  strings.ToLower(string(verdict)) + " NAME...",
		Args: someNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.checkComment(); err != nil {
				return err
			}
			if o.allOf != "" {
				return o.runAllOf(cmd.Context())
			}
			return o.each(cmd.Context(), args, func(name string) error { return o.run(cmd.Context(), name) })
		},
	}
	switch verdict {
	case v1alpha1.VerdictApprove:
		cmd.Short = "Approve a request"
		cmd.Long = "Approve a request. It is refused beforehand, with the reason, when the policy would not count your word."
		cmd.ValidArgsFunction = p.completeRequests(pending)
		cmd.Example = "  kubectl lapse approve admin-x7k2p -n payments --comment \"I watch the dashboards\""
	case v1alpha1.VerdictDeny:
		cmd.Short = "Refuse a request, for good"
		cmd.Long = "Refuse a request, whoever approves. One that was granted already ends."
		cmd.ValidArgsFunction = p.completeRequests(pending)
		cmd.Example = "  kubectl lapse deny admin-x7k2p -n payments --comment \"not during the freeze\""
	case v1alpha1.VerdictRevoke:
		cmd.Short = "Take access away, at once"
		cmd.Long = "Take access away at once, or see to it that it is not given. Approvers and revokers of the\npolicy may; under a policy without approvals, also whoever may delete the request."
		cmd.ValidArgsFunction = p.completeRequests(unfinished)
		cmd.Example = "  kubectl lapse revoke edit-x7k2p -n payments --reason \"the incident is over\""
	}
	if verdict == v1alpha1.VerdictRevoke {
		o.addAllOf(cmd)
		cmd.Flags().StringVar(&o.comment, "reason", "", "Why, one line. Required.")
		understand(cmd, "comment", "reason")
	} else {
		cmd.Flags().StringVar(&o.comment, "comment", "", "What else there is to say, one line.")
		understand(cmd, "reason", "comment")
	}
	o.output.addTo(cmd)
	return cmd
}

// understand takes a flag by the name that another verb has for it.
func understand(cmd *cobra.Command, alias, name string) {
	cmd.Flags().SetNormalizeFunc(func(_ *pflag.FlagSet, given string) pflag.NormalizedName {
		if given == alias {
			given = name
		}
		return pflag.NormalizedName(given)
	})
}

// checkComment holds only an approval up for how its comment is spelt.
func (o *decideOptions) checkComment() error {
	wrong := misspelt(o.comment)
	switch {
	case o.verdict == v1alpha1.VerdictRevoke && strings.TrimSpace(o.comment) == "":
		return errors.New("--reason is missing: whoever loses the access reads it")
	case o.verdict != v1alpha1.VerdictApprove:
		o.comment = o.legible(o.comment)
	case wrong != "":
		return fmt.Errorf("nothing was decided: --comment: %s; comment must be one line of printable characters", wrong)
	}
	return nil
}

func (o *decideOptions) run(ctx context.Context, name string) error {
	if _, err := o.output.printer(); err != nil {
		return err
	}
	c, err := o.connect()
	if err != nil {
		return err
	}
	req, err := o.find(ctx, c, name)
	if err != nil {
		return err
	}
	me, err := c.whoami(ctx)
	if err != nil {
		return err
	}
	return o.on(ctx, c, req, me)
}

// on gives the word on a request that was read, unless it would not count.
func (o *decideOptions) on(ctx context.Context, c *cluster, req *v1alpha1.AccessRequest, me *v1alpha1.Identity) error {
	b := &ballot{plugin: o.plugin, c: c, req: req, me: me}
	objection, doubt, err := b.objection(ctx, o.verdict)
	switch {
	case err != nil:
		return err
	case objection != "":
		return fmt.Errorf("nothing was decided: %s", objection)
	case doubt != "":
		o.say("whether your word counts could not be told: %s", doubt)
	}
	return o.decide(ctx, c, req, me, o.verdict, o.comment, o.output)
}

// decide creates a decision, and says what came of it.
func (p *plugin) decide(ctx context.Context, c *cluster, req *v1alpha1.AccessRequest, me *v1alpha1.Identity, verdict v1alpha1.Verdict, comment string, out *output) error {
	d, err := p.cast(ctx, c, req, me, verdict, comment)
	if err != nil {
		return err
	}
	if d.Spec.Reviewer == nil {
		d.Spec.Reviewer = me
	}
	d.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("AccessDecision"))
	if err := p.print(out, d); err != nil {
		return err
	}
	return p.outcome(ctx, c, req, d, me)
}

// cast creates a decision on exactly this request.
func (p *plugin) cast(ctx context.Context, c *cluster, req *v1alpha1.AccessRequest, me *v1alpha1.Identity, verdict v1alpha1.Verdict, comment string) (*v1alpha1.AccessDecision, error) {
	d := &v1alpha1.AccessDecision{
		ObjectMeta: metav1.ObjectMeta{Namespace: req.Namespace, GenerateName: generateName(req.Name)},
		Spec: v1alpha1.AccessDecisionSpec{
			RequestRef: v1alpha1.RequestReference{Name: req.Name, UID: req.UID}, Verdict: verdict, Comment: comment,
		},
	}
	err := store(ctx, c, d, me)
	if verdict != v1alpha1.VerdictApprove && comment != "" && refusesComment(err) {
		p.say("note: decided without what you wrote, which the API server does not take: %s", p.explain(err))
		d.Spec.Comment = ""
		err = store(ctx, c, d, me)
	}
	return d, err
}

// store creates a decision. Below Kubernetes 1.36 nothing is stamped. A reviewer has no extra.
func store(ctx context.Context, c *cluster, d *v1alpha1.AccessDecision, me *v1alpha1.Identity) error {
	err := c.create(ctx, d)
	if !lacks(err, "spec.reviewer") {
		return err
	}
	d.Spec.Reviewer = &v1alpha1.Identity{Username: me.Username, UID: me.UID, Groups: me.Groups}
	d.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "AccessRequest", Name: d.Spec.RequestRef.Name, UID: d.Spec.RequestRef.UID,
	}}
	return c.create(ctx, d)
}

// outcome says how the request stands once the operator has acted on a decision, and fails if
// the decision changed nothing.
func (p *plugin) outcome(ctx context.Context, c *cluster, before *v1alpha1.AccessRequest, d *v1alpha1.AccessDecision, me *v1alpha1.Identity) error {
	waiting, cancel := context.WithTimeout(ctx, settledWithin)
	defer cancel()
	there, last := false, before
	for seen := range p.only(waiting, c, before) {
		same := seen.req != nil && seen.req.UID == before.UID
		there = there || same
		switch {
		case seen.last:
			return seen.err
		case gone(seen, same, there):
			p.say("%s is deleted", before.Name)
			return nil
		case !same || seen.req.ResourceVersion == before.ResourceVersion:
		case took(seen.req, d):
			p.say("%s", p.resultText(seen.req))
			return nil
		default:
			last = seen.req
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &exitError{exitFailed, p.whyNot(ctx, c, last, d, me)}
}

// gone says whether what was seen shows that a request is deleted; same, that it is about it,
// and there, that it was seen before.
func gone(seen change, same, there bool) bool {
	return same && seen.kind == watch.Deleted || seen.kind == watch.Bookmark && !there
}

// took says whether a decision shows in a request: as an approval that counted, or as the end.
func took(req *v1alpha1.AccessRequest, d *v1alpha1.AccessDecision) bool {
	if d.Spec.Verdict != v1alpha1.VerdictApprove {
		return req.Status.State.Final()
	}
	return slices.ContainsFunc(req.Status.Approvals, func(a v1alpha1.Approval) bool { return a.Decision == d.Name })
}

// whyNot says why a decision that was made changes nothing, as far as who made it may know.
func (p *plugin) whyNot(ctx context.Context, c *cluster, req *v1alpha1.AccessRequest, d *v1alpha1.AccessDecision, me *v1alpha1.Identity) string {
	see := fmt.Sprintf("; see kubectl lapse why %s -n %s", req.Name, req.Namespace)
	b := &ballot{plugin: p, c: c, req: req, me: me}
	under, _, err := b.policy(ctx)
	if err != nil {
		under = nil
	}
	decisions, err := decisionsOn(ctx, c, req)
	if err != nil {
		decisions = []v1alpha1.AccessDecision{*d} // whether it is a second one is not told then
	}
	counting := grant.Counting{Policy: under, Decisions: decisions, MayEnd: func(*v1alpha1.Identity) (bool, error) {
		objection, _, err := b.end(ctx, under, d.Spec.Verdict)
		return objection == "", err
	}}
	if why, err := counting.Uncounted(req, d); err == nil && why != "" {
		return grant.UncountedNote(d, why) + "; " + req.Name + " is " + stateText(req) + see
	}
	if req.Status.State.Final() {
		return fmt.Sprintf("%s is %s: your word came too late to count%s", req.Name, stateText(req), see)
	}
	return fmt.Sprintf("%s did not change within %s: your word does not count for its policy, or the operator is away%s", req.Name, text.Duration(settledWithin), see)
}

func (p *plugin) resultText(req *v1alpha1.AccessRequest) string {
	if req.Status.State == v1alpha1.StateActive {
		return p.grantedText(req)
	}
	return standText(req)
}
