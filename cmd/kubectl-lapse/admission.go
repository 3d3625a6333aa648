// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/mod/semver"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	shipped "github.com/lapse-dev/lapse/config/admission"
	"github.com/lapse-dev/lapse/internal/admission"
	"github.com/lapse-dev/lapse/internal/build"
	"github.com/lapse-dev/lapse/internal/policy"
)

// admission compares the installed policies with those of this version.
func (d *doctor) admission(ctx context.Context) []diagnosis {
	diff, err := d.differences(ctx, false)
	switch {
	case err != nil:
		return d.cannotTell(err)
	case len(diff.missing)+len(diff.altered) > 0:
		return d.differ(ctx, admission.PutBack, diff)
	case diff.closed:
		return bad(admission.OpenKube, "%s; %s keeps it open", admission.StillClosed, admission.StayOpen)
	}
	if image, _ := d.ofOperator(ctx); areOfOthers(tagOf(image), build.Version()) {
		// Those of its version may differ, and then it grants nothing beside these.
		same := fmt.Sprintf("%d admission policies and bindings are what this plugin's version ships", diff.compared)
		return []diagnosis{otherVersion(same, image)}
	}
	return ok("%d admission policies and bindings are what this version ships", diff.compared)
}

// stamps does the same for what fills in who asks. None at all is well, since nothing
// depends on them; an altered one stops all grants, and some of them are somebody's mistake.
func (d *doctor) stamps(ctx context.Context) []diagnosis {
	served, err := d.c.stampsServed(ctx)
	if err != nil {
		return d.cannotTell(err)
	}
	if !served {
		return ok("%s has no MutatingAdmissionPolicy in v1: this plugin fills in who asks and who decides; in YAML, people name themselves", d.server)
	}
	diff, err := d.differences(ctx, true)
	switch {
	case err != nil:
		return d.cannotTell(err)
	case len(diff.missing) == diff.compared:
		return ok("not installed, so people name themselves in YAML; to have the API server do it: kubectl apply -k config/admission/stamps, or helm upgrade")
	case len(diff.missing)+len(diff.altered) > 0:
		return d.differ(ctx, admission.PutStampsBack, diff)
	default:
		return ok("%d stamps and bindings are what this version ships", diff.compared)
	}
}

// difference is between what is installed and what this version ships, in sentences.
type difference struct {
	missing, altered []string
	compared         int
	// closed says that grants are refused in kube-* that the operator would make.
	closed bool
}

// differences compares the policies, or the stamps.
func (d *doctor) differences(ctx context.Context, stamps bool) (difference, error) {
	diff := difference{}
	objects, err := admission.Shipped(shipped.Files)
	if err != nil {
		return diff, err
	}
	reserved, err := d.reserved(ctx)
	if err != nil {
		return diff, err
	}
	required, optional := admission.Required(objects, reserved)
	for _, want := range required {
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
	diff.closed, err = d.allInstalled(ctx, optional)
	return diff, err
}

// allInstalled says whether all of them are there; false if there are none.
func (d *doctor) allInstalled(ctx context.Context, objects []*unstructured.Unstructured) (bool, error) {
	for _, want := range objects {
		if got, err := d.installed(ctx, want); got == nil || err != nil {
			return false, err
		}
	}
	return len(objects) > 0, nil
}

// reserved are the namespaces in which the operator grants nothing by its flag, as its
// Deployment has it; those of the default where it has no such flag, or there is none.
func (d *doctor) reserved(ctx context.Context) ([]string, error) {
	manager, err := operatorContainer(ctx, d.c)
	if ignoreNotFound(err) != nil {
		return nil, err
	}
	var args []string
	if manager != nil {
		args = slices.Concat(manager.Command, manager.Args)
	}
	return policy.ReservedNamespaces(flagOf(args, "reserved-namespaces", policy.DefaultReserved)), nil
}

// flagOf is the value of a flag of the operator, written as Go's package flag reads it: the
// last one counts.
func flagOf(args []string, name, otherwise string) string {
	value := otherwise
	for i, arg := range args {
		key, given, found := strings.Cut(arg, "=")
		switch {
		case key != "-"+name && key != "--"+name:
		case found:
			value = given
		case i+1 < len(args):
			value = args[i+1]
		}
	}
	return value
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
func (d *doctor) canary(ctx context.Context) []diagnosis {
	request, decision := admission.Probes(operatorNamespace)
	return append(d.try(ctx, "request", admission.RequesterPolicy, request), d.try(ctx, "decision", admission.ReviewerPolicy, decision)...)
}

// try says whether the policy refuses an object in a false name.
func (d *doctor) try(ctx context.Context, what, policy string, obj object) []diagnosis {
	err := d.c.create(ctx, obj, metav1.DryRunAll)
	switch {
	case err == nil:
		return bad(admission.PutBack, "admission is NOT enforced: a %s in somebody else's name would be stored", what)
	case admission.RefusedName(err, policy):
		return ok("a %s in somebody else's name is refused", what)
	case ctx.Err() != nil, apierrors.ReasonForError(err) != metav1.StatusReasonUnknown && !apierrors.IsInternalError(err):
		return d.cannotTell(err) // something else refuses it
	default: // also no answer at all, which is how a panic in the API server looks
		return bad(lookAtServer, "the API server fails when it is sent a %s: %s", what, rootOf(err))
	}
}

// stampsServed asks by discovery whether the API server has the kinds of the stamps: a
// version may be emulated.
func (c *cluster) stampsServed(ctx context.Context) (bool, error) {
	served := &metav1.APIResourceList{}
	if err := c.read(ctx, "/apis/"+admission.Group+"/v1", served); err != nil {
		return false, err
	}
	return slices.ContainsFunc(served.APIResources, func(r metav1.APIResource) bool { return r.Kind == "MutatingAdmissionPolicy" }), nil
}

// ofOperator says which image the operator runs, and whether it is of this plugin's version, by its
// tag, or not there at all. What another version ships is no fault.
func (d *doctor) ofOperator(ctx context.Context) (image string, same bool) {
	if _, err := operatorContainer(ctx, d.c); apierrors.IsNotFound(err) {
		return "", true
	}
	image, err := operatorImage(ctx, d.c)
	return image, err == nil && tagOf(image) == build.Version()
}

// tagOf is the tag of an image, also where its digest comes after that; empty if it has none.
func tagOf(image string) string {
	name, _, _ := strings.Cut(image, "@")
	_, tag, _ := strings.Cut(path.Base(name), ":")
	return tag
}

// areOfOthers says whether both are versions, and not the same. A tag that is none, such as a
// commit, says nothing, nor does a plugin that was built without one.
func areOfOthers(tag, version string) bool {
	return semver.IsValid(tag) && semver.IsValid(version) && tag != version
}

// differ reports a difference: a failure if operator and plugin are of one version.
func (d *doctor) differ(ctx context.Context, mend string, diff difference) []diagnosis {
	text := strings.Join(append(diff.missing, diff.altered...), "; ")
	image, same := d.ofOperator(ctx)
	if same {
		return bad(mend, "%s", text)
	}
	return []diagnosis{otherVersion(text, image)}
}

// otherVersion is for what may be of one version, where the operator is of another. Image is the
// operator's; empty if that is not known.
func otherVersion(text, image string) diagnosis {
	text += "; but the operator may be of another version than this plugin, " + build.Version()
	if image != "" {
		text += ": its image is " + image
	}
	return diagnosis{unchecked, text, "check with the plugin of its version; if that finds a difference, apply all of that version: docs/install.md, Upgrade"}
}
