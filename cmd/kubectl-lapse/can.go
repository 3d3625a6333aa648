// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/text"
)

// canOptions are those of `kubectl lapse can`.
type canOptions struct {
	*plugin
	lasting             time.Duration
	reason, policyName  string
	subject             string
	requester           string
	groups              []string
	notBefore, notAfter string
	files               []string
}

func (p *plugin) canCommand() *cobra.Command {
	o := &canOptions{plugin: p}
	cmd := &cobra.Command{
		Use:   "can [ROLE]",
		Short: "Say what would become of a request, or what may be asked for",
		Long: `Without a role: list what may be asked for in the namespace, for how long, and what it
needs. With a role: judge a request by the policies of the cluster, with the operator's
own code, and create nothing: which policy allows it, who would have to approve, or what
each policy objects to and what would be allowed instead. With manifests: which of their
objects the holder may not make while the access lasts, since they would outlast it.

It reads policies, the namespace, the roles, and what the operator may bind; what you may
not read is said. The limits of the operator are taken to be its defaults. Exit codes: 0 it
would be granted, at once or when approved, or there is something to ask for; 2 it would be
refused, as something in the manifests would be, or there is nothing.`,
		Example: `  kubectl lapse can -n payments
  kubectl lapse can edit -n payments --for 8h
  helm template app chart | kubectl lapse can edit -n payments -f -
  kubectl lapse can edit -n payments --as-requester alice --as-requester-group oncall`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: p.completeRoles,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), strings.Join(args, ""))
		},
	}
	f := cmd.Flags()
	f.Var((*durationFlag)(&o.lasting), "for", "How long access should last. Default: the policy's.")
	f.StringVar(&o.reason, "reason", "", "The reason that would be given; conditions of policies may look at it.")
	f.StringVar(&o.policyName, "policy", "", "The only policy to ask. Default: any.")
	f.StringVar(&o.subject, "as-subject", "", "Who would get the access, if not who asks: user:NAME, group:NAME or sa:NAMESPACE/NAME.")
	f.StringVar(&o.requester, "as-requester", "", "User who would ask. Default: you.")
	f.StringArrayVar(&o.groups, "as-requester-group", nil, "Group of the user of --as-requester; may be given again.")
	f.StringVar(&o.notBefore, "not-before", "", "As for request.")
	f.StringVar(&o.notAfter, "not-after", "", "As for request.")
	f.StringArrayVarP(&o.files, "filename", "f", nil, "File or folder with manifests that the holder would apply, or - for stdin; may be given again.")
	p.completePolicies(cmd)
	return cmd
}

func (o *canOptions) run(ctx context.Context, role string) error {
	switch {
	case o.requester == "" && len(o.groups) > 0:
		return fmt.Errorf("--as-requester-group needs --as-requester")
	case role == "" && len(o.files) > 0:
		return fmt.Errorf("--filename needs a role: kubectl lapse can ROLE -f FILE")
	}
	c, err := o.connect()
	if err != nil {
		return err
	}
	requester, err := o.requesterFor(ctx, c)
	if err != nil {
		return err
	}
	w, err := o.observe(ctx, c, o.namespace())
	if err != nil {
		return err
	}
	req, err := o.build(cmp.Or(role, "any"), requester)
	if err != nil {
		return err
	}
	if role == "" {
		return o.list(ctx, w, req)
	}
	return o.one(ctx, c, w, req)
}

// one says what would become of one request, and of the files under it.
func (o *canOptions) one(ctx context.Context, c *cluster, w *world, req *v1alpha1.AccessRequest) error {
	d, objection, err := w.outlook(ctx, c, o.clock.now(), req)
	if err != nil {
		return err
	}
	answer, allowed := answerText(req, d, objection)
	fmt.Fprintln(o.Out, text.Printable(answer, "\n\t"))
	w.noteReason(req, d)
	w.sayUnknown(o.plugin)
	if allowed && len(o.files) > 0 {
		some, err := sayRefused(o.Out, o.In, o.files, o.namespace(), d)
		if err != nil {
			return err
		}
		allowed = !some
	}
	if !allowed {
		return &exitError{code: exitRefused}
	}
	return nil
}

// noteReason notes which of the policies that refuse look at a reason, if none was given: with one
// they may allow it.
func (w *world) noteReason(req *v1alpha1.AccessRequest, d policy.Decision) {
	if req.Spec.Reason != "" || d.Verdict != policy.Denied {
		return
	}
	for i := range w.offered {
		p := &w.offered[i]
		refuses := slices.ContainsFunc(d.Denials, func(no policy.Denial) bool { return no.Policy == p.Name })
		if refuses && slices.ContainsFunc(p.Spec.Conditions, func(c v1alpha1.PolicyCondition) bool { return strings.Contains(c.Expression, "spec.reason") }) {
			w.doubt("no --reason was given; policy %s has conditions on the reason", p.Name)
		}
	}
}

// answerText says whether a request would be allowed, and why.
func answerText(req *v1alpha1.AccessRequest, d policy.Decision, objection string) (said string, allowed bool) {
	if objection != "" {
		return "no: " + objection, false
	}
	return canText(req, d), d.Verdict == policy.Allowed
}

// outlook is how policies judge a request, and what else speaks against one that they allow.
func (w *world) outlook(ctx context.Context, c *cluster, now time.Time, req *v1alpha1.AccessRequest) (d policy.Decision, objection string, err error) {
	if objection = crossed(&req.Spec); objection != "" {
		return d, objection, nil
	}
	if d, err = w.judge(now, req); err != nil {
		return d, "", err
	}
	objection, err = otherObjection(ctx, now, req, d)
	if err == nil && objection == "" && d.Verdict == policy.Allowed {
		objection, err = w.unbindable(ctx, c, req)
	}
	return d, objection, err
}

// requesterFor is who would ask.
func (o *canOptions) requesterFor(ctx context.Context, c *cluster) (*v1alpha1.Identity, error) {
	if o.requester == "" {
		return c.whoami(ctx)
	}
	return &v1alpha1.Identity{Username: o.requester, Groups: append(o.groups, "system:authenticated")}, nil
}

// list says what may be asked for.
func (o *canOptions) list(ctx context.Context, w *world, req *v1alpha1.AccessRequest) error {
	objection, err := whateverIsAsked(ctx, o.clock.now(), req)
	if err != nil {
		return err
	}
	if objection != "" {
		return refused("no: %s", objection)
	}
	all, err := w.offers(o.clock.now(), req)
	if err != nil {
		return err
	}
	defer w.sayUnknown(o.plugin)
	if len(all) == 0 {
		said := fmt.Sprintf("no policy offers a role to %s in namespace %s", requesterOf(req), req.Namespace)
		if where := namedFor(w.offered, req.Spec.Requester, nil, req.Namespace); len(where) > 0 {
			said += ", but some do in " + lookIn(where)
		}
		return refused("%s; to see why for one role: kubectl lapse can ROLE", said)
	}
	return printOffers(o.Out, all)
}

func (o *canOptions) build(role string, requester *v1alpha1.Identity) (*v1alpha1.AccessRequest, error) {
	ref, err := parseRole(role)
	if err != nil {
		return nil, err
	}
	now := o.clock.now()
	req := &v1alpha1.AccessRequest{
		ObjectMeta: metav1.ObjectMeta{Namespace: o.namespace(), CreationTimestamp: metav1.NewTime(now)},
		Spec:       v1alpha1.AccessRequestSpec{RoleRef: ref, Reason: o.reason, PolicyName: o.policyName, Requester: requester},
	}
	if o.lasting != 0 {
		req.Spec.Duration = &metav1.Duration{Duration: o.lasting}
	}
	if req.Spec.Subject, err = parseSubject(o.subject); err != nil {
		return nil, err
	}
	if req.Spec.NotBefore, err = parseMoment("--not-before", o.notBefore, now); err != nil {
		return nil, err
	}
	req.Spec.NotAfter, err = parseMoment("--not-after", o.notAfter, now)
	return req, err
}

// canText is the answer: the verdict first, then why.
func canText(req *v1alpha1.AccessRequest, d policy.Decision) string {
	who := fmt.Sprintf("%s may", requesterOf(req))
	what := fmt.Sprintf("%s %s in %s", req.Spec.RoleRef.Kind, req.Spec.RoleRef.Name, req.Namespace)
	switch {
	case d.Verdict == policy.Allowed && len(d.Approvals) == 0:
		return fmt.Sprintf("yes: %s have %s for %s, at once, by policy %s", who, what, text.Duration(d.Duration), d.Policy.Name)
	case d.Verdict == policy.Allowed:
		return fmt.Sprintf("with approval: %s have %s for %s, by policy %s, once %s approved, within %s", who, what, text.Duration(d.Duration), d.Policy.Name,
			rulesText(d.Approvals), text.Duration(d.ApprovalTimeout))
	default:
		return "no: " + lines(d)
	}
}

// lines is the message of a decision with a line for each policy.
func lines(d policy.Decision) string {
	said := d.Message()
	for _, denial := range d.Denials {
		name := "policy " + text.Line(denial.Policy) + ": "
		said = strings.Replace(said, "; "+name, "\n  "+name, 1)
		said = strings.Replace(said, ": "+name, ":\n  "+name, 1)
	}
	return said
}
