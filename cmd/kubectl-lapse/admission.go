// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	shipped "github.com/lapse-dev/lapse/config/admission"
	"github.com/lapse-dev/lapse/internal/admission"
	"github.com/lapse-dev/lapse/internal/kubernetes"
)

// admission holds the policies that are installed against those that this version ships.
func (d *doctor) admission(ctx context.Context) []diagnosis {
	wrong, checked, err := d.differences(ctx, false)
	if err != nil {
		return d.cannotTell(err)
	}
	if len(wrong) > 0 {
		return bad(admission.PutBack, "%s", differ(wrong))
	}
	return ok("%d admission policies and bindings are what this version ships", checked)
}

// stamps does the same for what fills in who asks. Nothing rests on it, so none at all is
// well; one that is altered stops the operator.
func (d *doctor) stamps(ctx context.Context) []diagnosis {
	if !kubernetes.Stamps(d.server) {
		return ok("%s has no MutatingAdmissionPolicy in v1: this plugin fills in who asks and who decides; in YAML, people name themselves", d.server)
	}
	wrong, checked, err := d.differences(ctx, true)
	if err != nil {
		return d.cannotTell(err)
	}
	missing := slices.ContainsFunc(wrong, isMissing)
	wrong = slices.DeleteFunc(wrong, isMissing)
	switch {
	case len(wrong) > 0:
		return bad(admission.PutStampsBack, "%s", differ(wrong))
	case missing:
		return ok("not installed, so people name themselves in YAML; to have the API server do it: kubectl apply -k config/admission/stamps")
	default:
		return ok("%d stamps and bindings are what this version ships", checked)
	}
}

// differ says what differs, and from what: the operator may be of another version.
func differ(wrong []string) string {
	text := strings.Join(wrong, "; ")
	if slices.ContainsFunc(wrong, func(problem string) bool { return !isMissing(problem) }) {
		text += "; an operator of this plugin's version, " + clientVersion() + ", grants nothing then"
	}
	return text
}

func isMissing(problem string) bool { return strings.HasSuffix(problem, admission.Missing) }

// differences says what is wrong with the installed policies, or stamps.
func (d *doctor) differences(ctx context.Context, stamps bool) (wrong []string, checked int, err error) {
	objects, err := admission.Shipped(shipped.Files)
	if err != nil {
		return nil, 0, err
	}
	for _, want := range objects {
		if admission.IsStamp(want) != stamps {
			continue
		}
		checked++
		got, err := d.installed(ctx, want)
		if err != nil {
			return nil, 0, err
		}
		if problem := admission.Wrong(got, want); problem != "" {
			wrong = append(wrong, problem)
		}
	}
	return wrong, checked, nil
}

// installed is the object of that kind and name, nil if there is none.
func (d *doctor) installed(ctx context.Context, want *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	plural := strings.ToLower(want.GetKind()) + "s"
	if strings.HasSuffix(want.GetKind(), "Policy") {
		plural = strings.TrimSuffix(plural, "ys") + "ies"
	}
	got := &unstructured.Unstructured{}
	err := d.c.read(ctx, fmt.Sprintf("/apis/%s/%s/%s", want.GetAPIVersion(), plural, want.GetName()), got)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return got, err
}

// lookAtServer is what to do about an API server that fails.
const lookAtServer = "read the log of kube-apiserver; docs/compatibility.md lists faults of Kubernetes"

// canary tries to ask and to decide in a false name. Nothing is stored, whatever happens.
func (d *doctor) canary(ctx context.Context) (out []diagnosis) {
	const nobody, reason = "lapse-canary", "does admission refuse a false name? Never stored"
	meta := metav1.ObjectMeta{Namespace: operatorNamespace, GenerateName: "admission-canary-"}
	out = append(out, d.try(ctx, "request", "lapse-requester", &v1alpha1.AccessRequest{
		ObjectMeta: meta,
		Spec: v1alpha1.AccessRequestSpec{
			RoleRef:   v1alpha1.RoleRef{Kind: v1alpha1.ClusterRoleKind, Name: "view"},
			Duration:  &metav1.Duration{Duration: time.Minute},
			Reason:    reason,
			Subject:   &v1alpha1.Subject{Kind: v1alpha1.UserKind, Name: nobody},
			Requester: &v1alpha1.Identity{Username: nobody},
		},
	})...)
	return append(out, d.try(ctx, "decision", "lapse-reviewer", &v1alpha1.AccessDecision{
		ObjectMeta: meta,
		Spec: v1alpha1.AccessDecisionSpec{
			RequestRef: v1alpha1.RequestReference{Name: "none", UID: "none"}, Verdict: v1alpha1.VerdictApprove, Comment: reason,
			Reviewer: &v1alpha1.Identity{Username: nobody},
		},
	})...)
}

// try says whether the policy refuses an object in a false name.
func (d *doctor) try(ctx context.Context, what, policy string, obj object) []diagnosis {
	err := d.c.create(ctx, obj, metav1.DryRunAll)
	switch {
	case err == nil:
		return bad(admission.PutBack, "admission is NOT enforced: a %s in somebody else's name would be stored", what)
	case strings.Contains(err.Error(), "ValidatingAdmissionPolicy '"+policy+"'"):
		return ok("a %s in somebody else's name is refused", what)
	case apierrors.IsForbidden(err), apierrors.IsNotFound(err):
		return d.cannotTell(err)
	default: // also no answer at all, which is how a panic in the API server looks
		return bad(lookAtServer, "the API server fails when it is sent a %s: %s", what, rootOf(err))
	}
}
