// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/grant"
)

const (
	install       = "kubectl apply -k config/default"
	installKinds  = "kubectl apply -k config/crd"
	leaseName     = "lapse.lapse.dev"
	operatorUser  = "system:serviceaccount:" + operatorNamespace + ":" + operatorAccount
	canaryMessage = "ValidatingAdmissionPolicy 'lapse-requester'"
)

// Versions of Kubernetes: the oldest that works, and the first that stamps who asks.
var (
	oldest = version.MustParseGeneric("1.30")
	stamps = version.MustParseGeneric("1.36")
)

func (d *doctor) kubernetes(ctx context.Context) []diagnosis {
	info, err := d.c.version(ctx)
	if err != nil {
		return d.cannotTell(err)
	}
	v, err := version.ParseGeneric(info.GitVersion)
	switch {
	case err != nil:
		return d.cannotTell(err)
	case v.LessThan(oldest):
		return bad("update the cluster", "%s is older than 1.30, the first with ValidatingAdmissionPolicy in v1", info.GitVersion)
	case v.LessThan(stamps):
		return ok("%s; this plugin fills in who asks, as the API server does from 1.36 on", info.GitVersion)
	default:
		return ok("%s; client %s", info.GitVersion, clientVersion())
	}
}

func (d *doctor) kinds(ctx context.Context) []diagnosis {
	served := &metav1.APIResourceList{}
	if err := ignoreNotFound(d.c.read(ctx, "/apis/"+v1alpha1.GroupVersion.String(), served)); err != nil {
		return d.cannotTell(err)
	}
	missing := []string{"accesspolicies", requestResource, decisionResource}
	for _, resource := range served.APIResources {
		missing = slices.DeleteFunc(missing, func(name string) bool { return name == resource.Name })
	}
	if len(missing) > 0 {
		mend := installKinds
		if len(served.APIResources) == 0 {
			mend = install
		}
		return bad(mend, "not served in %s: %s", v1alpha1.GroupVersion, strings.Join(missing, ", "))
	}
	return ok("%s is served", v1alpha1.GroupVersion)
}

// guards are the policies of config/admission without which identities prove nothing.
var guards = []string{"lapse-requester", "lapse-reviewer", "lapse-request-spec", "lapse-decision-spec", "lapse-metadata", "lapse-status", "lapse-policy-author", "lapse-managed-binding", "lapse-persistence", "lapse-late-write"}

func (d *doctor) admission(ctx context.Context) []diagnosis {
	policies, bindings := &admissionv1.ValidatingAdmissionPolicyList{}, &admissionv1.ValidatingAdmissionPolicyBindingList{}
	if err := errors.Join(d.c.list(ctx, "", policies), d.c.list(ctx, "", bindings)); err != nil {
		return d.cannotTell(firstOf(err))
	}
	missing := slices.Clone(guards)
	for i := range policies.Items {
		p := &policies.Items[i]
		enforced := slices.ContainsFunc(bindings.Items, func(b admissionv1.ValidatingAdmissionPolicyBinding) bool {
			return b.Spec.PolicyName == p.Name && slices.Contains(b.Spec.ValidationActions, admissionv1.Deny)
		})
		if enforced {
			missing = slices.DeleteFunc(missing, func(name string) bool { return name == p.Name })
		}
	}
	if len(missing) > 0 {
		return bad(grant.PutBack, "ValidatingAdmissionPolicies are missing, or not bound with Deny: %s", strings.Join(missing, ", "))
	}
	return ok("%d ValidatingAdmissionPolicies are there and bound", len(guards))
}

// firstOf is one of several errors, so that explain sees what it is.
func firstOf(err error) error {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return joined.Unwrap()[0]
	}
	return err
}

// canary tries to ask in a false name. Nothing is stored, whatever happens.
func (d *doctor) canary(ctx context.Context) []diagnosis {
	req := &v1alpha1.AccessRequest{
		ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, GenerateName: "admission-canary-"},
		Spec: v1alpha1.AccessRequestSpec{
			RoleRef:   v1alpha1.RoleRef{Kind: v1alpha1.ClusterRoleKind, Name: "view"},
			Duration:  &metav1.Duration{Duration: time.Minute},
			Reason:    "does admission refuse a false requester? Never stored",
			Subject:   &v1alpha1.Subject{Kind: v1alpha1.UserKind, Name: "lapse-canary"},
			Requester: &v1alpha1.Identity{Username: "lapse-canary"},
		},
	}
	err := d.c.create(ctx, req, metav1.DryRunAll)
	switch {
	case err == nil:
		return bad(grant.PutBack, "admission is NOT enforced: a request in somebody else's name would be stored")
	case strings.Contains(err.Error(), canaryMessage):
		return ok("a request in somebody else's name is refused")
	default:
		return d.cannotTell(err)
	}
}

func (d *doctor) operator(ctx context.Context) []diagnosis {
	look := "kubectl get pods -n " + operatorNamespace + "; kubectl logs -n " + operatorNamespace + " deployment/" + operatorAccount
	lease := &coordinationv1.Lease{}
	err := d.c.get(ctx, operatorNamespace, leaseName, lease)
	switch {
	case apierrors.IsNotFound(err):
		return bad(look, "no operator has ever led here: lease %s is missing in %s", leaseName, operatorNamespace)
	case err != nil:
		return d.cannotTell(err)
	}
	holder, seconds := lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds
	if holder == nil || *holder == "" || seconds == nil || lease.Spec.RenewTime == nil {
		return bad(look, "no operator leads: lease %s has no holder", leaseName)
	}
	// The skew between two clocks here is no proof that it does not run.
	limit := lease.Spec.RenewTime.Add(time.Duration(*seconds)*time.Second + grant.MaxSkew)
	if d.clock.now().After(limit) {
		return bad(look, "no operator leads: lease %s was renewed last at %s, by %s", leaseName, timeText(lease.Spec.RenewTime.Time), *holder)
	}
	return ok("%s leads", *holder)
}

func (d *doctor) policies(ctx context.Context) (out []diagnosis) {
	list := &v1alpha1.AccessPolicyList{}
	if err := d.c.list(ctx, "", list); err != nil {
		return d.cannotTell(err)
	}
	for i := range list.Items {
		p := &list.Items[i]
		ready := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
		switch {
		case ready == nil || p.Status.ObservedGeneration != p.Generation:
			out = append(out, bad("kubectl lapse doctor, once the operator leads", "the operator has not looked at policy %s yet", p.Name)...)
		case ready.Status != metav1.ConditionTrue:
			out = append(out, bad("kubectl edit accesspolicy "+p.Name, "policy %s is not in force: %s: %s", p.Name, ready.Reason, ready.Message)...)
		}
	}
	switch {
	case len(out) > 0:
		return out
	case len(list.Items) == 0:
		return bad("kubectl apply -f a policy; docs/writing-policies.md has one", "there is no AccessPolicy, so nothing can be granted")
	default:
		return ok("policies in force: %d", len(list.Items))
	}
}

// bind asks whether the operator may bind each role that policies offer.
func (d *doctor) bind(ctx context.Context) (out []diagnosis) {
	list := &v1alpha1.AccessPolicyList{}
	if err := d.c.list(ctx, "", list); err != nil {
		return d.cannotTell(err)
	}
	asked := map[string]bool{}
	for i := range list.Items {
		if !meta.IsStatusConditionTrue(list.Items[i].Status.Conditions, v1alpha1.ConditionReady) {
			continue // it grants nothing, and its roles may not even be meant
		}
		spec := &list.Items[i].Spec
		for _, ref := range spec.Roles {
			for _, ns := range whereBound(ref, spec.Namespaces.Names) {
				if key := ns + "\x00" + roleText(ref); !asked[key] {
					asked[key] = true
					out = append(out, d.mayBind(ctx, ref, ns)...)
				}
			}
		}
	}
	wrong := slices.DeleteFunc(slices.Clone(out), func(found diagnosis) bool { return found.health == healthy })
	if len(wrong) > 0 {
		return wrong
	}
	return ok("the operator may bind all that policies offer (%d asked)", len(out))
}

// whereBound are the namespaces to ask about: any for a ClusterRole, those that are
// named for a Role.
func whereBound(ref v1alpha1.RoleRef, names []string) []string {
	if ref.Kind == v1alpha1.ClusterRoleKind {
		return []string{""}
	}
	return names
}

func (d *doctor) mayBind(ctx context.Context, ref v1alpha1.RoleRef, namespace string) []diagnosis {
	resource := strings.ToLower(ref.Kind) + "s"
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User:   operatorUser,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + operatorNamespace, "system:authenticated"},
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: namespace, Verb: "bind", Group: rbacv1.GroupName, Version: "v1", Resource: resource, Name: ref.Name,
		},
	}}
	if err := d.c.create(ctx, review); err != nil {
		return d.cannotTell(err)
	}
	if review.Status.Allowed {
		return ok("%s %s", ref.Kind, ref.Name)
	}
	name := "lapse-bindable-" + strings.TrimSuffix(generateName(ref.Name), "-")
	mend := fmt.Sprintf("kubectl create clusterrole %s --verb=bind --resource=%s.%s --resource-name=%s && kubectl label clusterrole %s %s=true",
		name, resource, rbacv1.GroupName, ref.Name, name, v1alpha1.BindableLabel)
	return bad(mend, "the operator may not bind %s %s, which a policy offers", ref.Kind, ref.Name)
}

func (d *doctor) clocks(ctx context.Context) []diagnosis {
	list := &v1alpha1.AccessRequestList{}
	if err := d.c.list(ctx, "", list); err == nil {
		for i := range list.Items {
			if reasonOf(&list.Items[i]) == v1alpha1.ReasonClockSkew {
				return bad("set the clocks of the nodes (NTP)", "%s/%s: %s", list.Items[i].Namespace, list.Items[i].Name, messageOf(&list.Items[i]))
			}
		}
	}
	if skew := d.clock.skew(); skew.Abs() > grant.MaxSkew {
		return bad("set the clock of this machine (NTP)", "the clocks here and of the API server are %s apart; times are shown by the API server's", skew.Abs())
	}
	return ok("this clock and the API server's agree to within %s", max(d.clock.skew().Abs(), tolerated))
}

func (d *doctor) pastTheirTime(ctx context.Context) (out []diagnosis) {
	reaper := d.reaper(d.c)
	reaper.DryRun = true
	due, err := reaper.Run(ctx)
	if err != nil {
		return d.cannotTell(err)
	}
	for _, b := range due {
		out = append(out, bad("kubectl lapse reap", "RoleBinding %s/%s should have gone %s", b.Namespace, b.Name, until(d.clock.now(), b.Deadline))...)
	}
	if len(out) > 0 {
		return out
	}
	return ok("no access is past its time")
}
