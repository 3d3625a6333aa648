// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
)

// expectAnnotation on a request manifest is the verdict that `policy test` expects.
const expectAnnotation = "lapse.dev/expect"

// Verdicts as expectAnnotation names them.
const (
	expectAllowed  = "allowed"
	expectApproval = "needs-approval"
	expectDenied   = "denied"
)

func (p *plugin) policyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Test and lint policies, also without a cluster",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	cmd.AddCommand(p.policyTestCommand(), p.policyLintCommand())
	return cmd
}

// testOptions are those of `kubectl lapse policy test`.
type testOptions struct {
	*plugin
	files     []string
	requester string
	groups    []string
	now       string
	format    string
}

func (p *plugin) policyTestCommand() *cobra.Command {
	o := &testOptions{plugin: p}
	cmd := &cobra.Command{
		Use:   "test -f FILE...",
		Short: "Judge request manifests by policy manifests, and compare with what is expected",
		Long: `Judge each AccessRequest in the files by the AccessPolicies in them, with the
operator's own code and without a cluster, for the CI of a GitOps repository.

What is expected stands in an annotation of the request:

  lapse.dev/expect: allowed                    at once
  lapse.dev/expect: needs-approval             when people have approved
  lapse.dev/expect: denied
  lapse.dev/expect: allowed by oncall-edit     and by which policy

Who asks is spec.requester or, where it is left out, --requester. Namespaces and roles
may be in the files as well; a namespace that is not has no labels, and of a role that
is not the dangers are not checked. What the API server would refuse by the schema is
denied. What admission refuses is not looked at: kubectl apply --dry-run=server does that.

What is allowed may get past another policy that is for the same request: that is said,
with what the other one would want.

Exit codes: 0 all as expected, 1 a difference. A request that expects nothing is only
printed.`,
		Example: `  kubectl lapse policy test -f policies/ -f requests/ --requester alice --requester-group oncall
  kubectl lapse policy test -f policies/ -f requests/ -o junit > policies.xml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.files, "filename", "f", nil, "File or folder with manifests, or - for stdin; may be given again.")
	f.StringVar(&o.requester, "requester", "", "Who asks, in requests that do not say.")
	f.StringArrayVar(&o.groups, "requester-group", nil, "Group of the user of --requester; may be given again.")
	f.StringVar(&o.now, "now", "", "The time as of which requests are judged, such as 2026-12-01T18:00:00Z. Default: now.")
	addReportFormat(cmd, &o.format, outputJSON, outputJUnit)
	return cmd
}

func (o *testOptions) run(ctx context.Context) error {
	if len(o.files) == 0 {
		return errors.New("which files? kubectl lapse policy test -f policies/ -f requests/")
	}
	if err := knownFormat(o.format, outputJSON, outputJUnit); err != nil {
		return err
	}
	now, err := parseTime("--now", o.now)
	if err != nil {
		return err
	}
	if o.now == "" {
		now = time.Now()
	}
	m, err := o.read()
	if err != nil {
		return err
	}
	compiled := make([]*policy.Compiled, 0, len(m.policies))
	for i := range m.policies {
		compiled = append(compiled, policy.Compile(&m.policies[i]))
	}
	all := &tested{}
	t := &tester{m: m, policies: compiled, now: now, o: o, notes: map[string]bool{}}
	for i := range m.requests {
		all.add(t.test(ctx, m.requests[i]))
	}
	if err := all.write(o); err != nil {
		return err
	}
	if all.Different > 0 {
		return fmt.Errorf("%d of %d requests are not judged as expected", all.Different, len(m.requests))
	}
	return nil
}

// read takes what there is to judge, and to judge by.
func (o *testOptions) read() (*manifests, error) {
	m, err := readManifests(o.In, o.files)
	switch {
	case err != nil:
		return nil, err
	case len(m.requests) == 0:
		return nil, fmt.Errorf("there is no AccessRequest in %s", strings.Join(o.files, ", "))
	case len(m.refused) > 0:
		return nil, &exitError{exitFailed, fmt.Sprintf("policy %s: %s", m.refused[0].name, m.refused[0].reason)}
	case len(m.policies) == 0:
		return nil, fmt.Errorf("there is no AccessPolicy in %s", strings.Join(o.files, ", "))
	}
	return m, nil
}

// tester judges the requests of files.
type tester struct {
	m        *manifests
	policies []*policy.Compiled
	now      time.Time
	o        *testOptions
	notes    map[string]bool // said already
}

// test is the verdict on one request, and whether it is the expected one.
func (t *tester) test(ctx context.Context, r located) verdict {
	req := r.request.DeepCopy()
	if req.Spec.Requester == nil && t.o.requester != "" {
		req.Spec.Requester = &v1alpha1.Identity{Username: t.o.requester, Groups: t.o.groups}
	}
	v := verdict{File: r.file, Request: req.Namespace + "/" + cmp.Or(req.Name, req.GenerateName+"*"), Expected: req.Annotations[expectAnnotation]}
	if req.CreationTimestamp.IsZero() { // conditions may look at it
		req.CreationTimestamp = metav1.NewTime(t.now)
	}
	if err := t.verdict(ctx, req, &v); err != nil {
		v.Result, v.Message = resultError, err.Error()
		return v
	}
	expected, problem := parseExpectation(v.Expected)
	switch {
	case problem != "":
		v.Result, v.Message = resultError, problem
	case expected.verdict == "":
		v.Result = resultUnchecked
	case expected.verdict != v.Verdict || expected.policy != "" && expected.policy != v.Policy:
		v.Result = resultFailed
	default:
		v.Result = resultOK
	}
	return v
}

// verdict fills in what would become of a request that is made now.
func (t *tester) verdict(ctx context.Context, req *v1alpha1.AccessRequest, v *verdict) error {
	d, err := t.judge(req, t.policies)
	if err != nil {
		return err
	}
	made := req.DeepCopy()
	made.CreationTimestamp = metav1.NewTime(t.now)
	objection, err := otherObjection(ctx, t.now, made, d)
	if err != nil {
		return err
	}
	if objection != "" {
		v.Verdict, v.Message = expectDenied, objection
		return nil
	}
	v.Verdict, v.Policy = verdictOf(d)
	v.Message = d.Message()
	if v.Verdict == expectApproval { // without a requester it is denied
		if why := d.NeverMet(req.Spec.Requester.Username); why != "" {
			v.Message += "; its approvals " + why
		}
	}
	v.Past, err = t.past(req, d)
	return err
}

// past are the policies that are for a request, too, and would not have allowed it so.
func (t *tester) past(req *v1alpha1.AccessRequest, d policy.Decision) (out []string, err error) {
	if d.Verdict != policy.Allowed {
		return nil, nil
	}
	unnamed := req.DeepCopy()
	unnamed.Spec.PolicyName = ""
	roles := func(ref v1alpha1.RoleRef) (policy.Role, bool, error) { return t.m.role(req.Namespace, ref), true, nil }
	for i, c := range t.policies {
		name := t.m.policies[i].Name
		problems, err := c.Problems(roles)
		if err != nil {
			return nil, err
		}
		if name == d.Policy.Name || len(problems) > 0 {
			continue
		}
		other, err := t.judge(unnamed, []*policy.Compiled{c})
		if err != nil {
			return nil, err
		}
		if wanted := wantedBy(other, d); wanted != "" {
			out = append(out, "policy "+name+wanted)
		}
	}
	return out, nil
}

// wantedBy is what one decision wants that another one does not; empty if it is on other
// requests, or wants nothing more.
func wantedBy(other, d policy.Decision) string {
	switch {
	case other.Verdict == policy.Denied && len(other.Denials) > 0:
		return ": " + strings.Join(other.Denials[0].Objections, ", and ")
	case other.Verdict == policy.Allowed && d.Unasked(other) != "":
		return ", which asks for approval by " + rulesText(other.Approvals) + ": this is allowed " + d.Unasked(other)
	default:
		return ""
	}
}

// judge answers a request by what the files say.
func (t *tester) judge(req *v1alpha1.AccessRequest, policies []*policy.Compiled) (policy.Decision, error) {
	w := &world{policies: policies, namespace: t.m.namespaces[req.Namespace], roles: t.lookup(req.Namespace)}
	if w.namespace == nil {
		w.namespace = &corev1.Namespace{}
		w.namespace.Name = req.Namespace
		t.note("namespace %s is not in the files: it was taken to have no labels", req.Namespace)
	}
	return w.judge(t.now, req)
}

// note says once what the verdicts rest on.
func (t *tester) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !t.notes[text] {
		t.notes[text] = true
		t.o.say("note: %s", text)
	}
}

func (t *tester) lookup(namespace string) policy.RoleLookup {
	return func(ref v1alpha1.RoleRef) (policy.Role, bool, error) {
		role := t.m.role(namespace, ref)
		if role.Unread {
			t.note("what %s %s allows is not in the files: whether it is dangerous, and gives something, was not checked", ref.Kind, ref.Name)
		}
		return role, true, nil
	}
}
