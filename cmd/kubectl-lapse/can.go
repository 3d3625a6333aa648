// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
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
}

func (p *plugin) canCommand() *cobra.Command {
	o := &canOptions{plugin: p}
	cmd := &cobra.Command{
		Use:   "can ROLE",
		Short: "Say what would become of a request, without making one",
		Long: `Judge a request by the policies of the cluster, with the operator's own code, and
create nothing: which policy allows it, who would have to approve, or what each policy
objects to and what would be allowed instead.

It reads policies, the namespace and the roles; what you may not read is said. The
limits of the operator are taken to be its defaults. Exit codes: 0 it would be granted,
at once or when approved; 2 it would be refused.`,
		Example: `  kubectl lapse can edit -n payments --for 8h
  kubectl lapse can edit -n payments --as-requester alice --as-requester-group oncall`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: p.completeRoles,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("which role? kubectl lapse can edit -n %s", p.namespace())
			}
			return o.run(cmd.Context(), args[0])
		},
	}
	f := cmd.Flags()
	f.DurationVar(&o.lasting, "for", 0, "How long access should last. Default: the policy's.")
	f.StringVar(&o.reason, "reason", "", "The reason that would be given; conditions of policies may look at it.")
	f.StringVar(&o.policyName, "policy", "", "The only policy to ask. Default: any.")
	f.StringVar(&o.subject, "as-subject", "", "Who would get the access, if not who asks: user:NAME, group:NAME or sa:NAMESPACE/NAME.")
	f.StringVar(&o.requester, "as-requester", "", "User who would ask. Default: you.")
	f.StringArrayVar(&o.groups, "as-requester-group", nil, "Group of the user of --as-requester; may be given again.")
	f.StringVar(&o.notBefore, "not-before", "", "As for request.")
	f.StringVar(&o.notAfter, "not-after", "", "As for request.")
	p.completePolicies(cmd)
	return cmd
}

func (o *canOptions) run(ctx context.Context, role string) error {
	if o.requester == "" && len(o.groups) > 0 {
		return fmt.Errorf("--as-requester-group needs --as-requester")
	}
	c, err := o.connect()
	if err != nil {
		return err
	}
	requester := &v1alpha1.Identity{Username: o.requester, Groups: append(o.groups, "system:authenticated")}
	if o.requester == "" {
		if requester, err = c.whoami(ctx); err != nil {
			return err
		}
	}
	req, err := o.build(role, requester)
	if err != nil {
		return err
	}
	w, err := o.observe(ctx, c, req.Namespace)
	if err != nil {
		return err
	}
	decision, err := w.judge(o.clock.now(), req)
	if err != nil {
		return err
	}
	fmt.Fprintln(o.Out, text.Printable(canText(req, decision), "\n\t"))
	w.sayUnknown(o.plugin)
	if decision.Verdict == policy.Allowed {
		return nil
	}
	return &exitError{code: exitRefused}
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
