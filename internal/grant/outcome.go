// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"fmt"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/text"
)

// gitOpsMarks are the labels and annotations by which Argo CD and Flux know what
// they applied. Such a request is never deleted: it would be created again, and
// granted again.
var gitOpsMarks = []string{
	"argocd.argoproj.io/tracking-id",
	"argocd.argoproj.io/instance",
	"app.kubernetes.io/instance", // Argo CD's default label before tracking-id
	"kustomize.toolkit.fluxcd.io/name",
	"helm.toolkit.fluxcd.io/name",
}

func tracked(req v1alpha1.Request) bool {
	for _, mark := range gitOpsMarks {
		if _, labelled := req.GetLabels()[mark]; labelled {
			return true
		}
		if _, annotated := req.GetAnnotations()[mark]; annotated {
			return true
		}
	}
	return false
}

// endOf is when a final request became final.
func endOf(req v1alpha1.Request) time.Time {
	if g := req.RequestStatus().Grant; g != nil && g.EndedAt != nil {
		return g.EndedAt.Time
	}
	if c := meta.FindStatusCondition(req.RequestStatus().Conditions, v1alpha1.ConditionReady); c != nil {
		return c.LastTransitionTime.Time
	}
	return req.GetCreationTimestamp().Time
}

// madeFor says whether a binding is what the operator makes for a request; see
// binding.MadeFor.
func madeFor(b *rbacv1.RoleBinding, req v1alpha1.Request) bool {
	subject, err := policy.GrantSubject(req.RequestSpec())
	return err == nil && binding.MadeFor(b, req, subject)
}

func policyName(req v1alpha1.Request) string {
	if req.RequestStatus().Policy == nil {
		return ""
	}
	return req.RequestStatus().Policy.Name
}

func granted(d policy.Decision, g v1alpha1.Grant, tally policy.Tally) *Outcome {
	return &Outcome{
		State: v1alpha1.StateActive, Reason: v1alpha1.ReasonGranted, Policy: d.Policy, Grant: &g, Approvals: tally.Counted,
		Message: fmt.Sprintf("allowed by policy %s; access ends at %s", d.Policy.Name, text.Time(g.ExpiresAt.Time)),
	}
}

func endedGrant(now time.Time, req v1alpha1.Request, g v1alpha1.Grant, reason, message string) *Outcome {
	state := v1alpha1.StateRevoked
	switch reason {
	case v1alpha1.ReasonExpired:
		state = v1alpha1.StateExpired
	case v1alpha1.ReasonReturned:
		state = v1alpha1.StateReturned
	}
	at := metav1.NewTime(now.Truncate(time.Second))
	g.EndedAt, g.EndReason = &at, reason
	return &Outcome{State: state, Reason: reason, Message: message, Policy: req.RequestStatus().Policy, Grant: &g, Approvals: req.RequestStatus().Approvals}
}

// EndedAt says when a grant that has ended was seen to have, to the second.
func (o *Outcome) EndedAt(now time.Time) {
	if o != nil && o.Grant != nil && o.Grant.EndedAt != nil {
		o.Grant.EndedAt.Time = now.Truncate(time.Second)
	}
}

func refuse(reason, message string, ref *v1alpha1.PolicyReference) Step {
	return Step{Action: Nothing, Outcome: &Outcome{State: v1alpha1.StateDenied, Reason: reason, Message: message, Policy: ref}}
}

func failed(reason, message string, ref *v1alpha1.PolicyReference) *Outcome {
	return &Outcome{State: v1alpha1.StateFailed, Reason: reason, Message: message, Policy: ref}
}

func conflict(name string) *Outcome {
	return failed(v1alpha1.ReasonBindingConflict, fmt.Sprintf(
		"RoleBinding %s exists and is not Lapse's: it is neither used nor removed; delete it, or create the request under another name", name), nil)
}

// BindForbidden is the outcome, in place of the grant that was meant, when the API
// server did not let the operator bind the role. It shows the YAML that would allow it.
func BindForbidden(req v1alpha1.Request, meant *Outcome) *Outcome {
	resource, role := "clusterroles", req.RequestSpec().RoleRef
	if role.Kind == v1alpha1.RoleKind {
		resource = "roles"
	}
	return instead(v1alpha1.ReasonBindForbidden, fmt.Sprintf(`the operator may not bind %s %s: it needs the verb bind on it. A cluster admin allows it with:

apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: lapse-bindable-%s
  labels: {%s: "true"}
rules:
- apiGroups: [rbac.authorization.k8s.io]
  resources: [%s]
  resourceNames: [%q]
  verbs: [bind]
`, role.Kind, role.Name, role.Name, v1alpha1.BindableLabel, resource, role.Name), meant)
}

// maxForeign bounds what is told in somebody else's words, in bytes.
const maxForeign = 1024

// foreign is somebody else's text as a terminal may show it, bounded. Line breaks stay.
func foreign(s string) string { return text.Cut(text.Printable(s, "\n"), maxForeign) }

// BindFailed is the outcome, in place of the grant that was meant, when the API server
// refused the binding for a reason that is not known to mend itself.
func BindFailed(meant *Outcome, err error) *Outcome {
	return instead(v1alpha1.ReasonBindFailed, "the API server refused the RoleBinding, and it is tried again: "+foreign(err.Error()), meant)
}

// instead is a failure that keeps who approved.
func instead(reason, message string, meant *Outcome) *Outcome {
	o := failed(reason, message, meant.Policy)
	o.Approvals = meant.Approvals
	return o
}

// NamespaceTerminating is the outcome when the namespace went away before access
// was given.
func NamespaceTerminating(req v1alpha1.Request) *Outcome {
	return refuse(v1alpha1.ReasonDenied, fmt.Sprintf("namespace %s is being deleted: nothing is granted in it", req.GetNamespace()), nil).Outcome
}
