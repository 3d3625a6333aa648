// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
)

// finding is what lint has to say of a policy.
type finding struct {
	mistake bool // else a risk
	text    string
}

// lintOptions are those of `kubectl lapse policy lint`.
type lintOptions struct {
	*plugin
	files  []string
	format string
}

func (p *plugin) policyLintCommand() *cobra.Command {
	o := &lintOptions{plugin: p}
	cmd := &cobra.Command{
		Use:   "lint [-f FILE...]",
		Short: "List mistakes and risks of policies",
		Long: `List what is wrong with policies (CEL that does not compile, approvals that nobody can
give, what the API server would refuse, …) and what is risky about them, such as another
policy by which somebody gets past one. Without -f it is about those of the cluster, and
notes which namespaces they name that do not exist now.

Exit codes: 0 no mistakes, perhaps risks; 1 mistakes, or no policy in the files.`,
		Example: `  kubectl lapse policy lint -f policies/
  kubectl lapse policy lint -f policies/ -o sarif > lint.sarif`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("files are named with -f: kubectl lapse policy lint -f %s", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	cmd.Flags().StringArrayVarP(&o.files, "filename", "f", nil, "File or folder with manifests, or - for stdin; may be given again.")
	addReportFormat(cmd, &o.format, outputJSON, outputSARIF)
	return cmd
}

func (o *lintOptions) run(ctx context.Context) error {
	if err := knownFormat(o.format, outputJSON, outputSARIF); err != nil {
		return err
	}
	l, err := o.look(ctx)
	if err != nil {
		return err
	}
	if err := l.write(o); err != nil {
		return err
	}
	switch {
	case l.Mistakes > 0:
		return &exitError{exitFailed, fmt.Sprintf("mistakes found: %d", l.Mistakes)}
	case l.Policies == 0 && len(o.files) > 0:
		return fmt.Errorf("there is no AccessPolicy in %s", strings.Join(o.files, ", "))
	case l.Policies == 0:
		o.say("there are no policies")
	case o.format == "":
		o.say("no mistakes in %d policies", l.Policies)
	}
	return nil
}

// look at the policies of the files or, if there are none, of the cluster.
func (o *lintOptions) look(ctx context.Context) (*linted, error) {
	if len(o.files) > 0 {
		m, err := readManifests(o.In, o.files)
		if err != nil {
			return nil, err
		}
		l := &linted{}
		for _, r := range m.refused {
			l.add(r.name, r.at, finding{true, r.reason})
		}
		roles := func(ref v1alpha1.RoleRef) (policy.Role, bool, error) {
			role := m.role("", ref)
			return role, !role.Unread || !strings.Contains(ref.Name, "*"), nil // the cluster may have others
		}
		return l, l.addAll(m.policies, m.places, roles)
	}
	c, err := o.connect()
	if err != nil {
		return nil, err
	}
	list := &v1alpha1.AccessPolicyList{}
	if err := c.list(ctx, "", list); err != nil {
		return nil, err
	}
	w, l := &world{}, &linted{}
	defer w.sayUnknown(o.plugin)
	for _, said := range c.absent(ctx, list.Items) {
		w.doubt("%s", said)
	}
	return l, l.addAll(list.Items, make([]place, len(list.Items)), w.lookup(ctx, c, ""))
}

func (l *linted) addAll(policies []v1alpha1.AccessPolicy, at []place, roles policy.RoleLookup) error {
	l.Policies = len(policies)
	// One that is not in force lets nobody past another.
	var inForce []v1alpha1.AccessPolicy
	for i := range policies {
		problems, err := policy.Compile(&policies[i]).Problems(roles)
		if err != nil {
			return err
		}
		if len(problems) == 0 {
			inForce = append(inForce, policies[i])
		}
	}
	for i := range policies {
		findings, err := lintPolicy(&policies[i], inForce, roles)
		if err != nil {
			return err
		}
		for _, f := range findings {
			l.add(policies[i].Name, at[i], f)
		}
	}
	return nil
}

// lintPolicy is what there is to say of a policy beside all that are in force, mistakes first.
func lintPolicy(p *v1alpha1.AccessPolicy, all []v1alpha1.AccessPolicy, roles policy.RoleLookup) ([]finding, error) {
	problems, err := policy.Compile(p).Problems(roles)
	if err != nil {
		return nil, err
	}
	var out []finding
	for _, problem := range problems {
		out = append(out, finding{true, problem.Message})
	}
	for _, unmatched := range policy.Unmatched(p, defaultLimits()) {
		out = append(out, finding{true, unmatched})
	}
	out = append(out, emptyLists(p)...)
	out = append(out, conditions(p)...)
	out = append(out, powers(p)...)
	for _, passed := range policy.Passed(p, all) {
		out = append(out, finding{false, passed})
	}
	offered, err := offeredRoles(p, roles)
	if err != nil {
		return nil, err
	}
	out = append(out, offered...)
	slices.SortStableFunc(out, func(a, b finding) int {
		switch {
		case a.mistake == b.mistake:
			return 0
		case a.mistake:
			return -1
		default:
			return 1
		}
	})
	return out, nil
}

func emptyLists(p *v1alpha1.AccessPolicy) (out []finding) {
	for field, empty := range map[string]bool{
		"requesters": len(p.Spec.Requesters) == 0,
		"roles":      len(p.Spec.Roles) == 0,
	} {
		if empty {
			out = append(out, finding{true, field + " is empty, which matches nothing"})
		}
	}
	slices.SortFunc(out, func(a, b finding) int { return strings.Compare(a.text, b.text) })
	return out
}

// conditions finds those that say nothing, or the same twice.
func conditions(p *v1alpha1.AccessPolicy) (out []finding) {
	seen := map[string]int{}
	for i, c := range p.Spec.Conditions {
		expression := strings.Join(strings.Fields(c.Expression), " ")
		if first, twice := seen[expression]; twice {
			out = append(out, finding{true, fmt.Sprintf("conditions[%d] is the same as conditions[%d]", i, first)})
			continue
		}
		seen[expression] = i
		switch expression {
		case "false":
			out = append(out, finding{true, fmt.Sprintf("conditions[%d] is always false, so that nothing is allowed", i)})
		case "true":
			out = append(out, finding{true, fmt.Sprintf("conditions[%d] is always true, and checks nothing", i)})
		}
	}
	return out
}
