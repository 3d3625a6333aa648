// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/build"
	"github.com/lapse-dev/lapse/internal/kubernetes"
	"github.com/lapse-dev/lapse/internal/reap"
	"github.com/lapse-dev/lapse/internal/text"
)

const (
	installKinds = "kubectl apply -k config/crd"
	leaseName    = "lapse.lapse.dev"
	// lookAtOperator shows what is wrong with it.
	lookAtOperator = "kubectl get pods -n " + operatorNamespace + "; kubectl logs -n " + operatorNamespace + " deployment/" + operatorAccount
	awaitOperator  = "kubectl rollout status -n " + operatorNamespace + " deployment/" + operatorAccount + " --timeout=3m"
	// answeredWithin is how long the operator is given to say something of a request; it
	// takes some tens of milliseconds.
	answeredWithin = 30 * time.Second
	// shownNames bounds a list of names on a line.
	shownNames = 5
)

func (d *doctor) kubernetes(context.Context) []diagnosis {
	if err := kubernetes.Supported(d.server); err != nil {
		return bad("update the cluster", "%s", err)
	}
	return ok("%s; client %s", d.server, build.Version())
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
			stamps, err := d.c.stampsServed(ctx)
			if err != nil {
				return d.cannotTell(err)
			}
			mend = "kubectl apply -k " + kubernetes.Folder(stamps)
		}
		return bad(mend, "not served in %s: %s", v1alpha1.GroupVersion, strings.Join(missing, ", "))
	}
	return ok("%s is served", v1alpha1.GroupVersion)
}

func (d *doctor) operator(ctx context.Context) []diagnosis {
	lease := &coordinationv1.Lease{}
	err := d.c.get(ctx, operatorNamespace, leaseName, lease)
	switch {
	case apierrors.IsNotFound(err):
		return bad(lookAtOperator, "no operator has ever led here: lease %s is missing in %s", leaseName, operatorNamespace)
	case err != nil:
		return d.cannotTell(err)
	}
	holder, seconds := lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds
	if holder == nil || *holder == "" || seconds == nil || lease.Spec.RenewTime == nil {
		return bad(lookAtOperator, "no operator leads: lease %s has no holder", leaseName)
	}
	// The skew between two clocks here is no proof that it does not run.
	limit := lease.Spec.RenewTime.Add(time.Duration(*seconds)*time.Second + binding.MaxSkew)
	if d.clock.now().After(limit) {
		return bad(lookAtOperator, "no operator leads: lease %s was renewed last at %s, by %s", leaseName, text.Time(lease.Spec.RenewTime.Time), *holder)
	}
	return ok("%s leads", *holder)
}

// unanswered finds requests that the operator has said nothing of, or holds back since it
// cannot tell whether the admission policies are in force.
func (d *doctor) unanswered(ctx context.Context) []diagnosis {
	list := &v1alpha1.AccessRequestList{}
	if err := d.c.list(ctx, "", list); err != nil {
		return d.cannotTell(err)
	}
	var names []string
	for i := range list.Items {
		req := &list.Items[i]
		if reasonOf(req) == v1alpha1.ReasonAdmissionNotEnforced {
			return bad(awaitOperator+"; if the request still says so, do what it says", "%s/%s: %s", req.Namespace, req.Name, messageOf(req))
		}
		if req.Status.State == "" && d.clock.now().Sub(req.CreationTimestamp.Time) > answeredWithin {
			names = append(names, req.Namespace+"/"+req.Name)
		}
	}
	if len(names) > 0 {
		more := ""
		if n := len(names) - shownNames; n > 0 {
			names, more = names[:shownNames], fmt.Sprintf(", and %d more", n)
		}
		return bad(lookAtOperator, "requests without an answer for more than %s: %s%s", text.Duration(answeredWithin), strings.Join(names, ", "), more)
	}
	return ok("no request waits for its first answer")
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
	case len(list.Items) == 0:
		return bad("kubectl apply -f a policy; docs/policies.md has one", "there is no AccessPolicy, so nothing can be granted")
	case len(out) == 0:
		out = ok("policies in force: %d", len(list.Items))
	}
	for _, said := range d.c.absent(ctx, list.Items) {
		out = append(out, diagnosis{health: noted, text: said})
	}
	return out
}

// bind asks whether the operator may bind each role that policies offer.
func (d *doctor) bind(ctx context.Context) (out []diagnosis) {
	list := &v1alpha1.AccessPolicyList{}
	if err := d.c.list(ctx, "", list); err != nil {
		return d.cannotTell(err)
	}
	type role struct {
		namespace string
		ref       v1alpha1.RoleRef
	}
	asked := map[role]bool{}
	for i := range list.Items {
		if !meta.IsStatusConditionTrue(list.Items[i].Status.Conditions, v1alpha1.ConditionReady) {
			continue // it grants nothing, and its roles may not even be meant
		}
		spec := &list.Items[i].Spec
		for _, ref := range spec.Roles {
			for _, ns := range whereBound(ref, spec.Namespaces.Names) {
				if this := (role{ns, ref}); !asked[this] {
					asked[this] = true
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

// operatorMay asks the API server what the operator may do.
func (c *cluster) operatorMay(ctx context.Context, what authorizationv1.ResourceAttributes) (bool, error) {
	review := reap.OperatorMay(what)
	if err := c.create(ctx, review); err != nil {
		return false, err
	}
	return reap.Allowed(review)
}

// operatorMayGrant asks whether it may make RoleBindings, in all namespaces.
func (c *cluster) operatorMayGrant(ctx context.Context) (bool, error) {
	return c.operatorMay(ctx, reap.Granting())
}

// operatorMayBind asks whether it may bind a role in a namespace; without one, in all.
func (c *cluster) operatorMayBind(ctx context.Context, ref v1alpha1.RoleRef, namespace string) (bool, error) {
	return c.operatorMay(ctx, authorizationv1.ResourceAttributes{
		Namespace: namespace, Verb: "bind", Group: rbacv1.GroupName, Version: "v1", Resource: strings.ToLower(ref.Kind) + "s", Name: ref.Name,
	})
}

// bindCommand lets the operator bind a role.
func bindCommand(ref v1alpha1.RoleRef) string {
	name := "lapse-bindable-" + strings.TrimSuffix(generateName(ref.Name), "-")
	return fmt.Sprintf("kubectl create clusterrole %s --verb=bind --resource=%ss.%s --resource-name=%s && kubectl label clusterrole %s %s=true",
		name, strings.ToLower(ref.Kind), rbacv1.GroupName, ref.Name, name, v1alpha1.BindableLabel)
}

// grants tells of a drain that nobody undid.
func (d *doctor) grants(ctx context.Context) []diagnosis {
	may, err := d.c.operatorMayGrant(ctx)
	switch {
	case err != nil:
		return d.cannotTell(err)
	case !may:
		return bad("kubectl apply -k config/rbac, or helm upgrade",
			"the operator may not make RoleBindings, so nothing is granted: ClusterRoleBinding %s is missing, as after kubectl lapse drain", reap.GrantingBinding)
	}
	return ok("the operator may make RoleBindings")
}

func (d *doctor) mayBind(ctx context.Context, ref v1alpha1.RoleRef, namespace string) []diagnosis {
	may, err := d.c.operatorMayBind(ctx, ref, namespace)
	switch {
	case err != nil:
		return d.cannotTell(err)
	case may:
		return ok("%s %s", ref.Kind, ref.Name)
	}
	return bad(bindCommand(ref), "the operator may not bind %s %s, which a policy offers", ref.Kind, ref.Name)
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
	if skew := d.clock.skew(); skew.Abs() > binding.MaxSkew {
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
