// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/admission"
	"github.com/lapse-dev/lapse/internal/grant"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/text"
)

// crossed says that access would end before it begins; empty if not. Policies are asked as of the
// beginning, and would say that the end is in the past.
func crossed(spec *v1alpha1.AccessRequestSpec) string {
	start, end := spec.NotBefore, spec.NotAfter
	if start == nil || end == nil || end.After(start.Time) {
		return ""
	}
	return fmt.Sprintf("the API server would refuse it: notAfter %s must be later than notBefore %s", text.Time(end.Time), text.Time(start.Time))
}

// otherObjection is what speaks against a request that policies allow: the schema, and the
// times that it names. Empty if nothing does.
func otherObjection(ctx context.Context, now time.Time, req *v1alpha1.AccessRequest, d policy.Decision) (string, error) {
	if d.Verdict != policy.Allowed {
		return "", nil
	}
	full := req.DeepCopy()
	if full.Spec.Subject == nil {
		// As it is stamped. What cannot be, policies have refused.
		if subject, err := policy.GrantSubject(&full.Spec); err == nil {
			full.Spec.Subject = &subject
		}
	}
	if wrong := misspelt(full.Spec.Reason); wrong != "" {
		return "the API server would refuse it: spec.reason: Invalid value: " + wrong + "; reason must be one line of printable characters", nil
	}
	full.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("AccessRequest"))
	full.Spec.Reason = cmp.Or(full.Spec.Reason, "any")
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(full)
	if err != nil {
		return "", err
	}
	s, err := requestSchema()
	if err != nil {
		return "", fmt.Errorf("the schema of this plugin: %w", err)
	}
	if reasons := s.refuses(ctx, object); len(reasons) > 0 {
		return strings.Join(reasons, "\n    "), nil
	}
	judge := grant.Judge{
		Decide: func() (policy.Decision, error) { return d, nil },
		MayEnd: func(string, *v1alpha1.Identity) (bool, error) { return false, nil },
	}
	step, err := grant.Next(now, req, judge, grant.Observed{Admission: admission.State{Enforced: true}}, grant.Settings{})
	if err != nil || step.Outcome == nil || step.Outcome.State != v1alpha1.StateDenied {
		return "", err
	}
	return step.Outcome.Message, nil
}

// whateverIsAsked is what speaks against a request of any role under any policy: what the schema
// says of it, and times that lie too far ahead for the longest access that there may be. Empty
// if nothing does.
func whateverIsAsked(ctx context.Context, now time.Time, req *v1alpha1.AccessRequest) (string, error) {
	if objection := crossed(&req.Spec); objection != "" {
		return objection, nil
	}
	longest := defaultLimits().MaxDuration
	return otherObjection(ctx, now, req, policy.Decision{
		Verdict: policy.Allowed, Policy: &v1alpha1.PolicyReference{}, Duration: longest, MaxDuration: longest,
	})
}

// unbindable is that the operator may not bind the role; empty if it may, or if that may not be asked.
func (w *world) unbindable(ctx context.Context, c *cluster, req *v1alpha1.AccessRequest) (string, error) {
	ref := req.Spec.RoleRef
	may, err := c.operatorMayBind(ctx, ref, req.Namespace)
	switch {
	case apierrors.IsForbidden(err):
		w.doubtBind(ref)
		return "", nil
	case err != nil || may:
		return "", err
	}
	return fmt.Sprintf("the operator may not bind %s %s; a cluster admin allows it with: %s", ref.Kind, ref.Name, bindCommand(ref)), nil
}
