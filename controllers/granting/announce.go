// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/metrics"
	"github.com/lapse-dev/lapse/internal/text"
)

const (
	// maxNote bounds the note of an Event, in bytes; the API allows 1024.
	maxNote = 1000
	// maxWhy bounds what a line of the log has of the reason of a request, in bytes.
	maxWhy = 256
)

// announceRole tells what is new in the role of a grant, once for each new thing.
func (r *RequestReconciler) announceRole(ctx context.Context, before, req *v1alpha1.AccessRequest) {
	now := meta.FindStatusCondition(req.Status.Conditions, v1alpha1.ConditionRoleChanged)
	old := meta.FindStatusCondition(before.Status.Conditions, v1alpha1.ConditionRoleChanged)
	if now == nil || old != nil && old.Reason == now.Reason && old.Message == now.Message {
		return
	}
	r.recorder.Eventf(req, bindingOf(req), corev1.EventTypeWarning, now.Reason, "Compare", "%s", text.Cut(now.Message, maxNote))
	log.FromContext(ctx).Info("role changed while access is held", "uid", req.UID, "reason", now.Reason, "message", now.Message, "role", req.Spec.RoleRef)
}

// announce tells what is stored already: an Event, a log line and a count, when the
// reason of Ready changed.
func (r *RequestReconciler) announce(ctx context.Context, before, req *v1alpha1.AccessRequest) {
	r.announceRole(ctx, before, req)
	ready := meta.FindStatusCondition(req.Status.Conditions, v1alpha1.ConditionReady)
	old := meta.FindStatusCondition(before.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || old != nil && old.Reason == ready.Reason {
		return
	}
	kind, action := corev1.EventTypeNormal, "Evaluate"
	if ready.Status == metav1.ConditionFalse {
		kind = corev1.EventTypeWarning
	}
	if g := req.Status.Grant; g != nil {
		action = "Bind"
		if g.EndedAt != nil {
			action = "Unbind"
		}
	}
	r.recorder.Eventf(req, bindingOf(req), kind, ready.Reason, action, "%s", text.Cut(ready.Message, maxNote))
	metrics.Outcome(ready.Reason)
	if last := lastApproval(req); before.Status.Grant == nil && req.Status.Grant != nil && !last.IsZero() {
		metrics.ApprovalWait(max(last.Sub(req.CreationTimestamp.Time), 0))
	}
	r.logChange(ctx, req, ready)
}

// logChange writes a line that can be read alone: who asked and why, what came of it, and by
// whose word.
func (r *RequestReconciler) logChange(ctx context.Context, req *v1alpha1.AccessRequest, ready *metav1.Condition) {
	why, message := text.Cut(text.Line(req.Spec.Reason), maxWhy), ready.Message
	if r.redact {
		why, message = "", "" // which may repeat what people wrote
	}
	log.FromContext(ctx).Info("request "+string(req.Status.State), "request", req.Name, "uid", req.UID,
		"reason", ready.Reason, "message", message, "requester", requesterOf(req), "requestReason", why, "reviewers", approvedBy(req),
		"subject", req.Spec.Subject, "role", req.Spec.RoleRef, "policy", req.Status.Policy, "grant", withoutRules(req.Status.Grant))
}

// withoutRules is a grant without the rules of its role, which are packed: kilobytes that nobody
// can read in a log.
func withoutRules(g *v1alpha1.Grant) *v1alpha1.Grant {
	if g == nil || g.Role == nil {
		return g
	}
	out, role := *g, *g.Role
	role.Rules = nil
	out.Role = &role
	return &out
}

// announcePinned tells what keeps a binding, once and not at every attempt. Access by
// it is over, whatever status says of that yet.
func (r *RequestReconciler) announcePinned(req *v1alpha1.AccessRequest, left *rbacv1.RoleBinding) {
	if r.pinned.Has(left.UID) {
		return
	}
	r.pinned.Add(left.UID)
	r.recorder.Eventf(req, left, corev1.EventTypeWarning, v1alpha1.ReasonBindingPinned, "Unbind",
		"nobody holds the role by RoleBinding %s any more, but finalizers keep the object: %s. Find out who set them; to remove it: kubectl -n %s patch rolebinding %s --type=merge -p '{\"metadata\":{\"finalizers\":null}}'",
		left.Name, text.Cut(strings.Join(left.Finalizers, ", "), maxNote/3), left.Namespace, left.Name)
}

// approvedBy are the names of those whose approval counted.
func approvedBy(req *v1alpha1.AccessRequest) []string {
	names := make([]string, 0, len(req.Status.Approvals))
	for _, a := range req.Status.Approvals {
		names = append(names, a.Reviewer)
	}
	return names
}

// lastApproval is when the last of the approvals that counted was given; zero if none did.
func lastApproval(req *v1alpha1.AccessRequest) (last time.Time) {
	for _, a := range req.Status.Approvals {
		if a.Time.After(last) {
			last = a.Time.Time
		}
	}
	return last
}

// bindingOf is the RoleBinding that an Event is about besides its request; nil if there is none.
func bindingOf(req *v1alpha1.AccessRequest) runtime.Object {
	if req.Status.Grant == nil {
		return nil
	}
	return &corev1.ObjectReference{
		APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "RoleBinding", Namespace: req.Namespace, Name: req.Status.Grant.Binding,
	}
}
