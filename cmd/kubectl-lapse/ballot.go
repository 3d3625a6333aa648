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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/text"
)

// ballot finds out beforehand whether somebody's word on a request counts, by the
// code that the operator counts with. The operator decides; this only spares people a
// decision that comes to nothing.
type ballot struct {
	*plugin
	c   *cluster
	req *v1alpha1.AccessRequest
	me  *v1alpha1.Identity
}

// objection is why the word would not count, empty if it would. doubt is why it
// cannot be told.
func (b *ballot) objection(ctx context.Context, verdict v1alpha1.Verdict) (objection, doubt string, err error) {
	if b.req.Status.State.Final() {
		return b.over(verdict), "", nil
	}
	p, doubt, err := b.policy(ctx)
	if doubt != "" && verdict == v1alpha1.VerdictApprove && policy.Involved(b.req, b.me) {
		doubt += "; you asked for it or get it, and it counts only if the policy says allowSelfApproval"
	}
	if err != nil || doubt != "" {
		return "", doubt, err
	}
	switch verdict {
	case v1alpha1.VerdictApprove:
		return b.approve(ctx, p)
	case v1alpha1.VerdictDeny, v1alpha1.VerdictRevoke:
		return b.end(ctx, p, verdict)
	default:
		return "", "", fmt.Errorf("unknown verdict %q", verdict)
	}
}

// over is why no word counts any more.
func (b *ballot) over(verdict v1alpha1.Verdict) string {
	is := fmt.Sprintf("%s is over (%s)", b.req.Name, stateText(b.req))
	if verdict == v1alpha1.VerdictApprove {
		return is + "; nothing brings it back, ask for a new one"
	}
	return is + ", and there is nothing left to end"
}

// policy that the request is under.
func (b *ballot) policy(ctx context.Context) (p *v1alpha1.AccessPolicy, doubt string, err error) {
	ref := b.req.Status.Policy
	if ref == nil {
		return nil, "the operator has not put the request under a policy yet", nil
	}
	p = &v1alpha1.AccessPolicy{}
	err = b.c.get(ctx, "", ref.Name, p)
	switch {
	case apierrors.IsForbidden(err):
		return nil, "you may not read policy " + ref.Name, nil
	case apierrors.IsNotFound(err):
		return nil, "policy " + ref.Name + " is gone, and the request will be judged anew", nil
	}
	return p, "", err
}

func (b *ballot) approve(ctx context.Context, p *v1alpha1.AccessPolicy) (objection, doubt string, err error) {
	if objection := b.barred(p); objection != "" {
		return objection, "", nil
	}
	decisions, err := decisionsOn(ctx, b.c, b.req)
	if apierrors.IsForbidden(err) {
		return "", "you may not read who has decided already", nil
	}
	if err != nil {
		return "", "", err
	}
	return b.count(p, decisions), "", nil
}

// barred is why no approval of this person would count, whoever else decides.
func (b *ballot) barred(p *v1alpha1.AccessPolicy) (objection string) {
	rules := p.Spec.Approvals
	switch {
	case b.req.Status.State == v1alpha1.StateActive:
		return fmt.Sprintf("%s is granted already", b.req.Name)
	case len(rules) == 0:
		return fmt.Sprintf("policy %s asks for no approval; %s: %s", p.Name, stateText(b.req), messageOf(b.req))
	case !policy.Reviews(rules, b.me):
		return fmt.Sprintf("you (%s) are not among the approvers of policy %s, which asks for %s%s", b.me.Username, p.Name, rulesText(rules),
			unlike(b.me, policy.Approvers(rules)))
	case !p.Spec.AllowSelfApproval && policy.Involved(b.req, b.me):
		return fmt.Sprintf("you (%s) asked for it or get it, and policy %s does not say allowSelfApproval", b.me.Username, p.Name)
	case !p.Spec.AllowSelfApproval && policy.CountedAs(&p.Spec).Asked(b.req, b.me):
		return fmt.Sprintf("you (%s) have the UID of who asked for it (%s), so you are taken for the same person; policy %s does not say uidIsShared",
			b.me.Username, b.req.Spec.Requester.Username, p.Name)
	default:
		return ""
	}
}

// approveBy is the moment from which an approval comes too late.
func approveBy(req *v1alpha1.AccessRequest, p *v1alpha1.AccessPolicy) time.Time {
	timeout := time.Hour
	if d := p.Spec.ApprovalTimeout; d != nil && d.Duration > 0 {
		timeout = d.Duration
	}
	return req.CreationTimestamp.Add(timeout)
}

// givesUp is when nothing comes any more of a request that waits for approval: that would be
// too late, or its access would be over.
func givesUp(req *v1alpha1.AccessRequest, p *v1alpha1.AccessPolicy) time.Time {
	by := approveBy(req, p)
	if end := req.Spec.NotAfter; end != nil && end.Time.Before(by) {
		return end.Time
	}
	return by
}

// count adds the vote to those that there are, and looks whether it changes anything.
func (b *ballot) count(p *v1alpha1.AccessPolicy, decisions []v1alpha1.AccessDecision) (objection string) {
	by := approveBy(b.req, p)
	now := b.clock.now()
	if !now.Before(by) {
		return fmt.Sprintf("%s had to be approved by %s; ask for a new one", b.req.Name, text.Time(by))
	}
	d := policy.CountedAs(&p.Spec)
	before := d.Count(b.req, decisions, by)
	for _, a := range before.Counted {
		if a.Reviewer == b.me.Username {
			return fmt.Sprintf("you (%s) approved it already, at %s; it %s", b.me.Username, text.Time(a.Time.Time), before.Text())
		}
	}
	if other := sameUID(d, b.me, decisions); other != "" {
		return fmt.Sprintf("%s has your UID, so you are taken for the same person, and approved it already; policy %s does not say uidIsShared", other, p.Name)
	}
	mine := v1alpha1.AccessDecision{
		// The last of all names, should somebody else have voted in the same second.
		ObjectMeta: metav1.ObjectMeta{Namespace: b.req.Namespace, Name: "~", CreationTimestamp: metav1.NewTime(now)},
		Spec: v1alpha1.AccessDecisionSpec{
			RequestRef: v1alpha1.RequestReference{Name: b.req.Name, UID: b.req.UID},
			Verdict:    v1alpha1.VerdictApprove, Reviewer: b.me,
		},
	}
	if after := d.Count(b.req, append(decisions, mine), by); len(after.Counted) == len(before.Counted) {
		return fmt.Sprintf("nobody is needed any more out of those for whom you stand; it %s", before.Text())
	}
	return ""
}

// sameUID is another name of somebody who approved; empty if there is none.
func sameUID(d policy.Decision, me *v1alpha1.Identity, decisions []v1alpha1.AccessDecision) string {
	if d.UIDIsShared || me.UID == "" {
		return ""
	}
	for i := range decisions {
		if by := decisions[i].Spec.Reviewer; decisions[i].Spec.Verdict == v1alpha1.VerdictApprove && by != nil && by.UID == me.UID && by.Username != me.Username {
			return by.Username
		}
	}
	return ""
}

// end is about Deny and Revoke: approvers and revokers may and, under a policy without
// approvals, whoever may delete the request. Everybody may give back what is his.
func (b *ballot) end(ctx context.Context, p *v1alpha1.AccessPolicy, verdict v1alpha1.Verdict) (objection, doubt string, err error) {
	switch {
	case verdict == v1alpha1.VerdictRevoke && policy.Involved(b.req, b.me):
		return "", "", nil
	case policy.MayEnd(&p.Spec, b.me):
		return "", "", nil
	case len(p.Spec.Approvals) > 0:
		return notAmongText(p, b.me), "", nil
	}
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: b.req.Namespace, Name: b.req.Name, Verb: "delete",
			Group: v1alpha1.GroupVersion.Group, Version: v1alpha1.GroupVersion.Version, Resource: requestResource,
		},
	}}
	if err := b.c.create(ctx, review); err != nil {
		return "", "", err
	}
	if !review.Status.Allowed {
		who, has := "those who may delete the request", ""
		if len(p.Spec.Revokers) > 0 {
			who, has = "its revokers ("+subjectsText(p.Spec.Revokers)+") and "+who, unlike(b.me, p.Spec.Revokers)
		}
		return fmt.Sprintf("policy %s asks for no approval, so only %s can end it, and you (%s) may not%s", p.Name, who, b.me.Username, has), "", nil
	}
	return "", "", nil
}

// notAmongText says who may end access under a policy that asks for approvals.
func notAmongText(p *v1alpha1.AccessPolicy, me *v1alpha1.Identity) string {
	said := fmt.Sprintf("you (%s) are not among the approvers of policy %s, who are %s", me.Username, p.Name, rulesText(p.Spec.Approvals))
	if len(p.Spec.Revokers) > 0 {
		said += ", nor among its revokers, who are " + subjectsText(p.Spec.Revokers)
	}
	return said + unlike(me, slices.Concat(policy.Approvers(p.Spec.Approvals), p.Spec.Revokers))
}

// unlike says what somebody has who is none of subjects: his groups, and whom of them he nearly
// is.
func unlike(me *v1alpha1.Identity, subjects []v1alpha1.Subject) (said string) {
	if groups := policy.GroupsOf(me); groups != "" {
		said = "; your groups: " + groups
	}
	return said + policy.NearMiss(me, subjects)
}

// rulesText is such as: 1 of group:sre-leads, and 2 of group:security or alice.
func rulesText(rules []v1alpha1.ApprovalRule) string {
	texts := make([]string, 0, len(rules))
	for _, rule := range rules {
		texts = append(texts, fmt.Sprintf("%d of %s", rule.Count, subjectsText(rule.From)))
	}
	return strings.Join(texts, ", and ")
}

// subjectsText is such as: group:security or alice.
func subjectsText(subjects []v1alpha1.Subject) string {
	texts := make([]string, 0, len(subjects))
	for i := range subjects {
		texts = append(texts, subjectText(&subjects[i]))
	}
	return strings.Join(texts, " or ")
}

// decisionsOn are those on the request, without those on another of its name.
func decisionsOn(ctx context.Context, c *cluster, req *v1alpha1.AccessRequest) ([]v1alpha1.AccessDecision, error) {
	list := &v1alpha1.AccessDecisionList{}
	if err := c.listWhere(ctx, req.Namespace, fields.OneTermEqualSelector("spec.requestRef.uid", string(req.UID)), list); err != nil {
		return nil, err
	}
	return onlyOn(req, list.Items), nil
}

func onlyOn(req *v1alpha1.AccessRequest, decisions []v1alpha1.AccessDecision) (on []v1alpha1.AccessDecision) {
	for i := range decisions {
		if policy.Concerns(&decisions[i], req) {
			on = append(on, decisions[i])
		}
	}
	return on
}
