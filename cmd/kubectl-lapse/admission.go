// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	shipped "github.com/lapse-dev/lapse/config/admission"
	"github.com/lapse-dev/lapse/internal/admission"
	"github.com/lapse-dev/lapse/internal/kubernetes"
)

// admission compares the installed policies with those of this version.
func (d *doctor) admission(ctx context.Context) []diagnosis {
	diff, err := d.differences(ctx, false)
	switch {
	case err != nil:
		return d.cannotTell(err)
	case len(diff.missing)+len(diff.altered) > 0:
		return bad(admission.PutBack, "%s", diff)
	default:
		return ok("%d admission policies and bindings are what this version ships", diff.compared)
	}
}

// stamps does the same for what fills in who asks. None at all is well, since nothing
// depends on them; an altered one stops all grants.
func (d *doctor) stamps(ctx context.Context) []diagnosis {
	if !kubernetes.Stamps(d.server) {
		return ok("%s has no MutatingAdmissionPolicy in v1: this plugin fills in who asks and who decides; in YAML, people name themselves", d.server)
	}
	diff, err := d.differences(ctx, true)
	switch {
	case err != nil:
		return d.cannotTell(err)
	case len(diff.altered) > 0:
		return bad(admission.PutStampsBack, "%s", diff)
	case len(diff.missing) > 0:
		return ok("not installed, so people name themselves in YAML; to have the API server do it: kubectl apply -k config/admission/stamps")
	default:
		return ok("%d stamps and bindings are what this version ships", diff.compared)
	}
}

// difference is between what is installed and what this version ships, in sentences.
type difference struct {
	missing, altered []string
	compared         int
}

// String names the version, since the operator may be of another one.
func (d difference) String() string {
	text := strings.Join(append(d.missing, d.altered...), "; ")
	if len(d.altered) > 0 {
		text += "; an operator of this plugin's version, " + clientVersion() + ", grants nothing then"
	}
	return text
}

// differences compares the policies, or the stamps.
func (d *doctor) differences(ctx context.Context, stamps bool) (difference, error) {
	diff := difference{}
	objects, err := admission.Shipped(shipped.Files)
	if err != nil {
		return diff, err
	}
	for _, want := range objects {
		if admission.IsStamp(want) != stamps {
			continue
		}
		got, err := d.installed(ctx, want)
		if err != nil {
			return diff, err
		}
		diff.compared++
		switch problem := admission.Wrong(got, want); {
		case got == nil:
			diff.missing = append(diff.missing, problem)
		case problem != "":
			diff.altered = append(diff.altered, problem)
		}
	}
	return diff, nil
}

// installed is the object of that kind and name, nil if there is none.
func (d *doctor) installed(ctx context.Context, want *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	resource, _ := meta.UnsafeGuessKindToResource(want.GroupVersionKind())
	got := &unstructured.Unstructured{}
	err := d.c.read(ctx, fmt.Sprintf("/apis/%s/%s/%s", want.GetAPIVersion(), resource.Resource, want.GetName()), got)
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
	named := metav1.ObjectMeta{Namespace: operatorNamespace, GenerateName: "admission-canary-"}
	out = append(out, d.try(ctx, "request", "lapse-requester", &v1alpha1.AccessRequest{
		ObjectMeta: named,
		Spec: v1alpha1.AccessRequestSpec{
			RoleRef:   v1alpha1.RoleRef{Kind: v1alpha1.ClusterRoleKind, Name: "view"},
			Duration:  &metav1.Duration{Duration: time.Minute},
			Reason:    reason,
			Subject:   &v1alpha1.Subject{Kind: v1alpha1.UserKind, Name: nobody},
			Requester: &v1alpha1.Identity{Username: nobody},
		},
	})...)
	return append(out, d.try(ctx, "decision", "lapse-reviewer", &v1alpha1.AccessDecision{
		ObjectMeta: named,
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
	case apierrors.ReasonForError(err) != metav1.StatusReasonUnknown && !apierrors.IsInternalError(err):
		return d.cannotTell(err) // something else refuses it
	default: // also no answer at all, which is how a panic in the API server looks
		return bad(lookAtServer, "the API server fails when it is sent a %s: %s", what, rootOf(err))
	}
}
