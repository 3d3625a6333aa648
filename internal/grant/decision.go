// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/text"
)

// returned is the decision by which requester or grantee gave the access back; nil
// if there is none. It depends on no policy: everybody may have less. Who denies what he asked
// for himself gives it back, too: else he could keep what was refused to him for long.
func returned(req v1alpha1.Request, decisions []v1alpha1.AccessDecision) *v1alpha1.AccessDecision {
	for _, d := range noes(req, decisions) {
		if policy.Involved(req, d.Spec.Reviewer) {
			return d
		}
	}
	return nil
}

// firstNo is the first decision by which somebody who may do that under one of the
// policies denied or revoked the access; nil if there is none. With an error there may
// be one. Each person is asked about once, however many decisions he made.
func firstNo(req v1alpha1.Request, judge Judge, decisions []v1alpha1.AccessDecision, policies ...string) (*v1alpha1.AccessDecision, error) {
	var failed error
	asked := sets.New[string]()
	for _, d := range noes(req, decisions) {
		who := d.Spec.Reviewer
		if asked.Has(person(who)) {
			continue
		}
		asked.Insert(person(who))
		for _, name := range policies {
			if name == "" {
				continue // it was under no policy before
			}
			may, err := judge.MayEnd(name, who)
			if may && err == nil {
				return d, nil
			}
			if err != nil {
				failed = fmt.Errorf("asking whether %q may end this: %w", who.Username, err)
			}
		}
	}
	return nil, failed
}

// person is the same text for the same name, UID and set of groups, and for nothing else:
// admission takes the groups in any order.
func person(who *v1alpha1.Identity) string {
	same := who.DeepCopy()
	slices.Sort(same.Groups)
	same.Groups = slices.Compact(same.Groups)
	return fmt.Sprintf("%q", []any{same.Username, same.UID, same.Groups})
}

// noes are the decisions on the request that would end it, in the order in which
// they were made. One that is being deleted still counts: a no is for good.
func noes(req v1alpha1.Request, decisions []v1alpha1.AccessDecision) []*v1alpha1.AccessDecision {
	var out []*v1alpha1.AccessDecision
	for i := range decisions {
		d := &decisions[i]
		if d.Spec.Verdict != v1alpha1.VerdictApprove && policy.Concerns(d, req) {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b *v1alpha1.AccessDecision) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// said is who decided, and why.
func said(d *v1alpha1.AccessDecision) string {
	words := fmt.Sprintf("%q", d.Spec.Reviewer.Username)
	if d.Spec.Comment != "" {
		words += fmt.Sprintf(": %q", d.Spec.Comment)
	}
	return text.Printable(words, "")
}

// endedBy is the outcome when a person ended the access.
func endedBy(now time.Time, req v1alpha1.Request, g v1alpha1.Grant, reason string, d *v1alpha1.AccessDecision) *Outcome {
	verb := "revoked"
	if reason == v1alpha1.ReasonReturned {
		verb = "given back"
	}
	g.EndedBy = d.Spec.Reviewer.Username
	return endedGrant(now, req, g, reason, verb+" by "+said(d))
}

// takenBack is the outcome when a request was taken back before access was given.
func takenBack(d *v1alpha1.AccessDecision) *Outcome {
	return &Outcome{
		State: v1alpha1.StateReturned, Reason: v1alpha1.ReasonReturned,
		Message: "taken back, before access was given, by " + said(d),
	}
}
