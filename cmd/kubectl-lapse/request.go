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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
)

// requestOptions are those of `kubectl lapse request`.
type requestOptions struct {
	*plugin
	output              *output
	role, name, reason  string
	lasting, timeout    time.Duration
	subject, policyName string
	notBefore, notAfter string
	dryRun              string
	wait                bool
}

func (p *plugin) requestCommand() *cobra.Command {
	o := &requestOptions{plugin: p, output: newOutput("created")}
	cmd := &cobra.Command{
		Use:   "request ROLE --for DURATION --reason TEXT",
		Short: "Ask for a role in a namespace, for a time and a reason",
		Long: `Ask for a role in a namespace. ROLE is a ClusterRole, or role/NAME for a Role.

A policy allows it or not, at once or when people have approved. The exit code is 0 when
access is granted, 2 when it is refused, taken away or withdrawn, and 3 when it still
waits: without --wait after the operator's first word, with it at the timeout. So what
comes after && has the access. Ctrl-C leaves the request as it is. With --dry-run=server
it is 2 when it would be refused.`,
		Example: `  # ClusterRole edit for an hour
  kubectl lapse request edit -n payments --for 1h --reason "INC-4211: checkout returns 500" --wait

  # a Role, for a ServiceAccount, next Tuesday night
  kubectl lapse request role/migrate -n payments --for 2h --reason "CHG-77" --as-subject sa:payments/migrator \
    --not-before 2026-12-01T22:00:00Z --not-after 2026-12-02T02:00:00Z`,
		ValidArgsFunction: p.completeRoles,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.complete(args); err != nil {
				return err
			}
			return o.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.role, "role", "", "The role, instead of the argument ROLE.")
	f.Var((*durationFlag)(&o.lasting), "for", "How long access lasts, counted from the moment it is granted, such as 1h30m; 10s to 24h. Required.")
	f.StringVar(&o.reason, "reason", "", "Why it is needed, one line; approvers and auditors read it. Required.")
	f.StringVar(&o.name, "name", "", "Name of the request. Default: the role's, with a random end.")
	f.StringVar(&o.subject, "as-subject", "", "Who gets the access, if not you: user:NAME, group:NAME or sa:NAMESPACE/NAME. Needs --not-after.")
	f.StringVar(&o.notBefore, "not-before", "", "Grant nothing before: a time such as 2026-12-01T18:00:00Z, or 2h from now.")
	f.StringVar(&o.notAfter, "not-after", "", "Access ends by then at the latest: a time, or 2h from now.")
	f.StringVar(&o.policyName, "policy", "", "The only policy that may allow it. Default: any.")
	f.BoolVar(&o.wait, "wait", false, "Wait until it is granted or refused.")
	o.timeout = 10 * time.Minute
	f.Var((*durationFlag)(&o.timeout), "timeout", "How long --wait waits; 0 is for ever.")
	f.StringVar(&o.dryRun, "dry-run", "none", "none, client (print what would be sent) or server (let the API server check it, and store nothing).")
	p.completeRequestFlags(cmd)
	o.output.addTo(cmd)
	return cmd
}

// complete checks the command line before anything is sent.
func (o *requestOptions) complete(args []string) error {
	switch {
	case len(args) > 1:
		return fmt.Errorf("one role at a time, and not %d; a reason of several words needs quotes", len(args))
	case len(args) == 1 && o.role != "":
		return errors.New("name the role once: as the argument, or with --role")
	case len(args) == 1:
		o.role = args[0]
	case o.role == "":
		return errors.New(`which role? kubectl lapse request edit --for 1h --reason "why"`)
	}
	if !slices.Contains(dryRuns, o.dryRun) {
		return fmt.Errorf("--dry-run is %s, and not %q", strings.Join(dryRuns, ", "), o.dryRun)
	}
	if o.wait && o.dryRun != "none" {
		return errors.New("--wait has nothing to wait for with --dry-run; leave one of them out")
	}
	return o.required()
}

var dryRuns = []string{"none", "client", "server"}

// required checks what every request needs.
func (o *requestOptions) required() error {
	var missing []string
	if o.lasting == 0 {
		missing = append(missing, "--for (how long, such as 1h)")
	}
	if strings.TrimSpace(o.reason) == "" {
		missing = append(missing, "--reason (why, such as \"INC-4211: checkout returns 500\")")
	}
	if len(missing) > 0 {
		return errors.New("a request needs " + strings.Join(missing, " and "))
	}
	if wrong := misspelt(o.reason); wrong != "" {
		return fmt.Errorf("--reason: %s; reason must be one line of printable characters and not blank", wrong)
	}
	if o.lasting < 0 || o.lasting%time.Second != 0 {
		return fmt.Errorf("--for %s is not in whole seconds; 10s to 24h are allowed", o.lasting)
	}
	return nil
}

// build makes the request that the flags describe.
func (o *requestOptions) build() (*v1alpha1.AccessRequest, error) {
	role, err := parseRole(o.role)
	if err != nil {
		return nil, err
	}
	req := &v1alpha1.AccessRequest{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "AccessRequest"},
		ObjectMeta: metav1.ObjectMeta{Namespace: o.namespace(), Name: o.name},
		Spec: v1alpha1.AccessRequestSpec{
			RoleRef: role, Reason: o.reason, PolicyName: o.policyName,
			Duration: &metav1.Duration{Duration: o.lasting},
		},
	}
	if o.name == "" {
		req.GenerateName = generateName(role.Name)
	}
	if req.Spec.Subject, err = parseSubject(o.subject); err != nil {
		return nil, err
	}
	now := o.clock.now()
	if req.Spec.NotBefore, err = parseMoment("--not-before", o.notBefore, now); err != nil {
		return nil, err
	}
	req.Spec.NotAfter, err = parseMoment("--not-after", o.notAfter, now)
	return req, err
}

func (o *requestOptions) run(ctx context.Context) error {
	req, err := o.build()
	if err != nil {
		return err
	}
	if _, err := o.output.printer(); err != nil {
		return err
	}
	if o.dryRun == "client" {
		o.output.operation = "created (dry run)"
		return o.print(o.output, req)
	}
	c, err := o.connect()
	if err != nil {
		return err
	}
	var dryRun []string
	if o.dryRun == "server" {
		dryRun = append(dryRun, metav1.DryRunAll)
		o.output.operation = "created (server dry run)"
	}
	err = ask(ctx, c, req, dryRun...)
	switch {
	case apierrors.IsAlreadyExists(err):
		return fmt.Errorf("%w in namespace %s, and a name works once; take another one, or leave --name out", err, req.Namespace)
	case err != nil:
		return o.mayAskIn(ctx, c, req.Namespace, &req.Spec.RoleRef, err)
	}
	req.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("AccessRequest"))
	if err := o.print(o.output, req); err != nil {
		return err
	}
	switch {
	case o.dryRun == "server":
		return o.tried(ctx, c, req)
	case o.wait:
		return o.await(ctx, c, req, o.timeout)
	default:
		return o.firstWord(ctx, c, req)
	}
}

// ask creates a request. Where the API server does not stamp who asks, below
// Kubernetes 1.36, it says that the requester is missing, and is told.
func ask(ctx context.Context, c *cluster, req *v1alpha1.AccessRequest, dryRun ...string) error {
	err := c.create(ctx, req, dryRun...)
	if !lacks(err, "spec.requester") {
		return err
	}
	me, err := c.whoami(ctx)
	if err != nil {
		return err
	}
	req.Spec.Requester = me
	if req.Spec.Subject == nil {
		subject, err := policy.GrantSubject(&req.Spec)
		if err != nil {
			return fmt.Errorf("%w; name who gets the access with --as-subject", err)
		}
		req.Spec.Subject = &subject
	}
	return c.create(ctx, req, dryRun...)
}

// lacks says whether the schema misses a field.
func lacks(err error, field string) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return false
	}
	return slices.ContainsFunc(status.Status().Details.Causes, func(c metav1.StatusCause) bool {
		return c.Type == metav1.CauseTypeFieldValueRequired && c.Field == field
	})
}

// tried ends a request that was only checked as it would end if it were refused.
func (o *requestOptions) tried(ctx context.Context, c *cluster, req *v1alpha1.AccessRequest) error {
	no, err := o.foretell(ctx, c, req)
	if err == nil && no {
		return &exitError{code: exitRefused}
	}
	return err
}

// foretell says what would become of a request that was not stored; no is that it would not be granted.
func (p *plugin) foretell(ctx context.Context, c *cluster, req *v1alpha1.AccessRequest) (no bool, err error) {
	w, err := p.observe(ctx, c, req.Namespace)
	if err != nil {
		p.say("what would become of it cannot be told: %s", p.explain(err))
		return false, nil
	}
	decision, objection, err := w.outlook(ctx, c, p.clock.now(), req)
	if err != nil {
		return false, err
	}
	p.say("%s", cmp.Or(objection, decision.Message()))
	w.sayUnknown(p)
	return objection != "" || decision.Verdict != policy.Allowed, nil
}

// conditionOf is one condition of a request, nil if it has none of that type.
func conditionOf(req *v1alpha1.AccessRequest, kind string) *metav1.Condition {
	return meta.FindStatusCondition(req.Status.Conditions, kind)
}
