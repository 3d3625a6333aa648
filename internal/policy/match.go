// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// people is a set of subjects, ready to be asked whether somebody belongs to it.
type people struct {
	users  sets.Set[string] // by the name with which they are authenticated
	groups sets.Set[string]
}

// requestersOf may hold groups of Kubernetes and of providers besides.
func requestersOf(subjects []v1alpha1.Subject) people {
	p := peopleOf(subjects)
	for _, s := range subjects {
		if isWide(s) {
			p.groups.Insert(s.Name)
		}
	}
	return p
}

// isWide says whether s is a group that Kubernetes or a provider fills, such as
// system:authenticated. Whoever is not authenticated asks for nothing.
func isWide(s v1alpha1.Subject) bool {
	return s.Kind == v1alpha1.GroupKind && s.Namespace == "" && strings.HasPrefix(s.Name, systemPrefix) && s.Name != unauthenticated
}

const (
	authenticated   = "system:authenticated"
	unauthenticated = "system:unauthenticated"
)

// RisksOfPeople is what approvers should know of who asks and who counts, and of what holders may
// make: of groups among the requesters of a policy that Kubernetes or a provider fills, of UIDs
// that say nothing, of access for others that nobody approves, and of new ServiceAccounts.
func RisksOfPeople(p *v1alpha1.AccessPolicy) (out []string) {
	if p.Spec.UIDIsShared && len(p.Spec.Approvals) > 0 {
		out = append(out, sharedUID)
	}
	if p.Spec.WhileHeld == v1alpha1.WhileHeldNoNewPower {
		out = append(out, newAccounts)
	}
	if len(p.Spec.Grantees) > 0 && len(p.Spec.Approvals) == 0 {
		out = append(out, othersAlone)
	}
	for _, s := range p.Spec.Requesters {
		switch {
		case !isWide(s):
		case s.Name == authenticated:
			out = append(out, "requesters: whoever logs in may ask, ServiceAccounts included ("+subjectText(s)+")")
		default:
			out = append(out, "requesters: whoever is in "+subjectText(s)+" may ask; Kubernetes or a provider fills it, perhaps with all who log in")
		}
	}
	return out
}

// peopleOf leaves out what is malformed, such as the group system:authenticated:
// the schema refuses it, and without the schema it would match everybody.
func peopleOf(subjects []v1alpha1.Subject) people {
	p := people{users: sets.New[string](), groups: sets.New[string]()}
	for _, s := range subjects {
		if malformed(s) != "" {
			continue
		}
		if s.Kind == v1alpha1.GroupKind {
			p.groups.Insert(s.Name)
		} else {
			p.users.Insert(Account(s))
		}
	}
	return p
}

// include says whether an authenticated identity belongs to the set: by its exact
// name, or by a group. groups holds those of the identity.
func (p people) include(name string, groups sets.Set[string]) bool {
	if name == "" {
		return false
	}
	if p.users.Has(name) {
		return true
	}
	few, many := p.groups, groups
	if len(many) < len(few) {
		few, many = many, few
	}
	for group := range few {
		if many.Has(group) {
			return true
		}
	}
	return false
}

// territory is a set of namespaces. The zero value holds none.
type territory struct {
	names    sets.Set[string]
	selector labels.Selector // nil selects nothing
}

// territoryOf is an error when the selector is not valid; the names hold even then.
// A selector without requirements selects nothing, where Kubernetes' own convention
// is that it selects everything.
func territoryOf(match v1alpha1.NamespaceMatch) (territory, error) {
	t := territory{names: sets.New(match.Names...)}
	s := match.Selector
	if s == nil || len(s.MatchLabels) == 0 && len(s.MatchExpressions) == 0 {
		return t, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return t, err
	}
	t.selector = selector
	return t, nil
}

func (t territory) includes(ns *corev1.Namespace) bool {
	if ns == nil || ns.Name == "" {
		return false
	}
	return t.names.Has(ns.Name) || t.selector != nil && t.selector.Matches(labels.Set(ns.Labels))
}

// DefaultReserved is what the operator reserves besides its own namespace, unless its flag
// --reserved-namespaces says otherwise.
const DefaultReserved = "kube-*"

// ReservedNamespaces are the entries of that flag.
func ReservedNamespaces(flag string) (entries []string) {
	for entry := range strings.SplitSeq(flag, ",") {
		if entry = strings.TrimSpace(entry); entry != "" {
			entries = append(entries, entry)
		}
	}
	return entries
}

// reservedBy is the entry that reserves the namespace, and empty if none does. An
// entry that ends in * is a prefix: no name of a namespace holds one.
func reservedBy(reserved []string, namespace string) string {
	for _, entry := range reserved {
		prefix, wild := strings.CutSuffix(entry, "*")
		if entry == namespace || wild && strings.HasPrefix(namespace, prefix) {
			return entry
		}
	}
	return ""
}
