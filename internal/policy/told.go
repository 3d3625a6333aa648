// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/text"
)

// maxTold bounds status.risks of a policy, and maxToldText each of them in bytes; see the
// schema.
const (
	maxTold     = 64
	maxToldText = 512
)

// sharedUID is the risk of a policy that tells people apart by their names alone.
const sharedUID = "uidIsShared: who has two names, such as in another case, counts as two people and may approve what he asked for"

// othersAlone is the risk of a policy by which one may have somebody else be given access, and
// nobody else has a word in that.
const othersAlone = "grantees: nobody approves; whoever may ask can alone give them access, " +
	"and so can whoever may write what a GitOps controller applies, if that controller asks"

// newAccounts is the risk of a policy whose holders may make ServiceAccounts.
const newAccounts = "whileHeld: its holders may make ServiceAccounts, and start pods as them that outlive the access; " +
	"what RoleBindings of other namespaces, AccessPolicies or a cloud provider give to such a name is not looked up"

// Told are what is risky of the requesters of a policy, and the dangers and risks of the
// ClusterRoles that it offers, for those who approve: the worst first, equal ones once. Who gets
// past what by it and the others follows: however much that is, what a holder could do is read
// first. There are at most 64, among which it is said how many more there are. What a Role
// allows differs by namespace, and is not known before it is asked for.
func Told(p *v1alpha1.AccessPolicy, others []v1alpha1.AccessPolicy, roles RoleLookup) ([]string, error) {
	var all []ranked
	for _, risk := range RisksOfPeople(p) {
		all = append(all, ranked{-2, risk})
	}
	for _, ref := range p.Spec.Roles {
		if ref.Kind != v1alpha1.ClusterRoleKind {
			continue
		}
		role, found, err := roles(ref)
		if err != nil {
			return nil, err
		}
		if !found {
			continue
		}
		for _, danger := range Dangers(ref, role.Rules) {
			all = append(all, ranked{-1, ref.Name + ": " + danger}) // worse than any risk
		}
		for _, risk := range risksOf(role.Rules) {
			all = append(all, ranked{risk.rank, ref.Name + ": " + risk.text})
		}
	}
	slices.SortStableFunc(all, func(a, b ranked) int { return cmp.Compare(a.rank, b.rank) })
	out, rivals := onceEach(textsOf(all, func(r ranked) string { return r.text })), Rivals(p, others)
	past := onceEach(slices.Concat(passedBy(p, rivals), passing(p, rivals)))
	if room := maxTold - len(past); len(out) > room {
		out = append(out[:room-1:room-1], fmt.Sprintf("and %d more", len(out)-room+1))
	}
	return append(out, past...), nil
}

// onceEach are lines that fit the status, equal ones once.
func onceEach(lines []string) (out []string) {
	once := sets.New[string]()
	for _, line := range lines {
		if line = text.Cut(line, maxToldText); !once.Has(line) {
			once.Insert(line)
			out = append(out, line)
		}
	}
	return out
}
