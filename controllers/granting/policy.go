// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/servertime"
	"github.com/lapse-dev/lapse/internal/text"
)

// maxRoles bounds status.roles, in bytes; see the schema.
const maxRoles = 512

// PolicyReconciler says of each AccessPolicy whether it is in force, and what
// risks come with it. Nothing is granted by what it writes.
type PolicyReconciler struct {
	client client.Client
	clock  *servertime.Clock
	judges judges
}

// NewPolicyReconciler has all that it needs from the options.
func NewPolicyReconciler(o Options) *PolicyReconciler {
	return &PolicyReconciler{client: o.Client, clock: o.Clock, judges: newJudges(o.Client, o.Live, o.Limits)}
}

// Reconcile compiles one policy and writes its status.
func (r *PolicyReconciler) Reconcile(ctx context.Context, key ctrl.Request) (ctrl.Result, error) {
	p := &v1alpha1.AccessPolicy{}
	if err := r.client.Get(ctx, key.NamespacedName, p); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	roles := r.judges.roles(ctx, r.client, metav1.NamespaceNone)
	problems, err := r.judges.compiled.Compiled(p).Problems(roles)
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("looking at the roles of policy %s: %w", p.Name, err)
	}
	// Nothing here changes a policy, and there may be many.
	all := &v1alpha1.AccessPolicyList{}
	if err := r.client.List(ctx, all, client.UnsafeDisableDeepCopy); err != nil {
		return ctrl.Result{}, fmt.Errorf("listing policies: %w", err)
	}
	before := p.DeepCopy()
	if p.Status.Risks, err = policy.Told(p, all.Items, roles); err != nil {
		return ctrl.Result{}, fmt.Errorf("looking at the risks of policy %s: %w", p.Name, err)
	}
	useless, err := policy.Useless(p, roles)
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("looking at what the roles of policy %s give: %w", p.Name, err)
	}
	p.Status.Roles = text.Cut(offered(p.Spec.Roles), maxRoles)
	setPolicyStatus(r.clock.Now(), p, problems, append(policy.Unmatched(p, r.judges.limits), useless...))
	if equality.Semantic.DeepEqual(before.Status, p.Status) {
		return ctrl.Result{}, nil
	}
	return ctrl.Result{}, client.IgnoreNotFound(r.client.Status().Patch(ctx, p, client.MergeFrom(before)))
}

// notReady counts the policies that are not known to be in force as they are now, for
// whoever watches the operator.
func (r *PolicyReconciler) notReady() float64 {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	list := &v1alpha1.AccessPolicyList{}
	if err := r.client.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return -1 // cannot be told; 0 would look healthy
	}
	n := 0.0
	for i := range list.Items {
		ready := meta.FindStatusCondition(list.Items[i].Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Status != metav1.ConditionTrue || ready.ObservedGeneration != list.Items[i].Generation {
			n++
		}
	}
	return n
}

// offered are roles in one line.
func offered(roles []v1alpha1.RoleRef) string {
	names := make([]string, len(roles))
	for i, ref := range roles {
		names[i] = policy.RoleArgument(ref)
	}
	return strings.Join(names, ", ")
}

// setPolicyStatus writes what was found into the status of a policy. What never matches, or
// gives nothing, keeps the rest of it in force.
func setPolicyStatus(now time.Time, p *v1alpha1.AccessPolicy, problems []policy.Problem, unmatched []string) {
	p.Status.ObservedGeneration = p.Generation
	ready := metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonValid,
		Message: "in force", ObservedGeneration: p.Generation, LastTransitionTime: metav1.NewTime(now.Truncate(time.Second)),
	}
	if len(unmatched) > 0 {
		ready.Message = text.Cut("in force; but "+strings.Join(unmatched, "; "), maxMessage)
	}
	if len(problems) == 0 {
		meta.RemoveStatusCondition(&p.Status.Conditions, v1alpha1.ConditionStalled)
	} else {
		messages := make([]string, 0, len(problems))
		for _, problem := range problems {
			messages = append(messages, problem.Message)
		}
		ready.Status, ready.Reason = metav1.ConditionFalse, problems[0].Reason
		ready.Message = text.Cut("allows nothing: "+strings.Join(messages, "; "), maxMessage)
		stalled := ready
		stalled.Type, stalled.Status = v1alpha1.ConditionStalled, metav1.ConditionTrue
		meta.SetStatusCondition(&p.Status.Conditions, stalled)
	}
	meta.SetStatusCondition(&p.Status.Conditions, ready)
}
