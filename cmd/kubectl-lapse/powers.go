// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
)

// powers finds what gives away more than it may seem to.
func powers(p *v1alpha1.AccessPolicy) (out []finding) {
	if p.Spec.AllowDangerousRoles {
		out = append(out, finding{false, "allowDangerousRoles: a holder may be able to take over the cluster"})
	}
	if p.Spec.AllowSelfApproval && len(p.Spec.Approvals) > 0 {
		out = append(out, finding{false, "allowSelfApproval: whoever asks may approve for himself"})
	}
	for _, risk := range policy.RisksOfPeople(p) {
		out = append(out, finding{false, risk})
	}
	if labelled(p.Spec.Namespaces.Selector) {
		out = append(out, finding{false, "namespaces.selector: whoever may label a namespace decides that access can be asked for in it"})
	}
	for _, g := range p.Spec.Grantees {
		if g.Kind == v1alpha1.GroupKind {
			out = append(out, finding{false, "grantees: all members of " + subjectText(&g) + " get the access at once"})
		}
	}
	for _, r := range p.Spec.Revokers {
		if slices.Contains(p.Spec.Requesters, r) {
			out = append(out, finding{false, "revokers: " + subjectText(&r) + " may ask and revoke, and so end what others hold"})
		}
	}
	if accountsForThemselves(&p.Spec) {
		out = append(out, finding{false, "only ServiceAccounts may ask and grantees is empty: they can ask for nobody but themselves, which a GitOps controller seldom means"})
	}
	return out
}

// accountsForThemselves says whether ServiceAccounts alone may ask, and for nobody else.
func accountsForThemselves(spec *v1alpha1.AccessPolicySpec) bool {
	return len(spec.Requesters) > 0 && len(spec.Grantees) == 0 && !slices.ContainsFunc(spec.Requesters, func(s v1alpha1.Subject) bool {
		return s.Kind != v1alpha1.ServiceAccountKind
	})
}

// labelled says whether a selector asks for labels of somebody's choosing. The API server
// itself sets that which is the name, and lets nobody alter it.
func labelled(s *metav1.LabelSelector) bool {
	if s == nil {
		return false
	}
	keys := slices.Collect(maps.Keys(s.MatchLabels))
	for _, r := range s.MatchExpressions {
		keys = append(keys, r.Key)
	}
	return slices.ContainsFunc(keys, func(key string) bool { return key != corev1.LabelMetadataName })
}

// offeredRoles finds what the roles give, and do not give.
func offeredRoles(p *v1alpha1.AccessPolicy, roles policy.RoleLookup) (out []finding, err error) {
	useless, err := policy.Useless(p, roles)
	if err != nil {
		return nil, err
	}
	for _, mistake := range useless {
		out = append(out, finding{true, mistake})
	}
	for _, ref := range p.Spec.Roles {
		if ref.Kind != v1alpha1.ClusterRoleKind {
			continue // it differs by namespace
		}
		role, _, err := roles(ref)
		if err != nil {
			return nil, err
		}
		for _, risk := range policy.Risks(ref, role.Rules) {
			out = append(out, finding{false, ref.Kind + " " + ref.Name + ": " + risk})
		}
	}
	return out, nil
}
