// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"k8s.io/cli-runtime/pkg/printers"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/text"
)

// onOffer is a role that somebody may ask for.
type onOffer struct {
	role, policy string
	longest      time.Duration
	// needs is what has to come before, or what the policy says against a request without
	// reason or time; empty if nothing.
	needs string
}

// offers are what policies have for whoever asks, where he asks: by role and, for one role, the
// shortest needs first.
func (w *world) offers(now time.Time, req *v1alpha1.AccessRequest) ([]onOffer, error) {
	var out []onOffer
	for i := range w.offered {
		p := &w.offered[i]
		if only := req.Spec.PolicyName; only != "" && only != p.Name {
			continue
		}
		for _, ref := range p.Spec.Roles {
			ask := req.DeepCopy()
			ask.Spec.RoleRef, ask.Spec.PolicyName = ref, p.Name
			d, err := w.judge(now, ask)
			if err != nil {
				return nil, err
			}
			o := onOffer{role: policy.RoleArgument(ref), policy: p.Name, longest: p.Spec.MaxDuration.Duration}
			switch {
			case d.Verdict == policy.Allowed && len(d.Approvals) > 0:
				o.needs = rulesText(d.Approvals)
			case d.Verdict == policy.Denied && len(d.Denials) > 0:
				o.needs = strings.Join(d.Denials[0].Objections, ", and ")
			case d.Verdict != policy.Allowed:
				continue // it is for others, for other places, or there is no such role
			}
			out = append(out, o)
		}
	}
	slices.SortStableFunc(out, func(a, b onOffer) int {
		return cmp.Or(cmp.Compare(a.role, b.role), cmp.Compare(len(a.needs), len(b.needs)), cmp.Compare(a.policy, b.policy))
	})
	return out, nil
}

func printOffers(w io.Writer, all []onOffer) error {
	out := printers.GetNewTabWriter(w)
	fmt.Fprintln(out, "ROLE\tUP TO\tPOLICY\tNEEDS")
	for _, o := range all {
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\n", cell(o.role), text.Duration(o.longest), cell(o.policy), cell(o.needs))
	}
	return out.Flush()
}
