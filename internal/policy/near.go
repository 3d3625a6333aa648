// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"

	"golang.org/x/text/unicode/norm"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// overlooked is what people overlook in a name, and how it is taken out. A prefix is such as
// an identity provider's.
var overlooked = []struct {
	what string
	drop func(string) string
}{
	{"Unicode form", norm.NFKC.String},
	{"a prefix", func(name string) string { return name[strings.LastIndexAny(name, ":/")+1:] }},
	{"spaces", strings.TrimSpace},
	{"case", strings.ToLower},
}

// folded is a name without what people overlook in it, but for one such thing, by its index.
func folded(name string, but int) string {
	for i, o := range overlooked {
		if i != but {
			name = o.drop(name)
		}
	}
	return name
}

const nothing = -1

// difference is in what two names differ that are the same when they are folded.
func difference(a, b string) string {
	var in []string
	for i, o := range overlooked {
		if folded(a, i) != folded(b, i) {
			in = append(in, o.what)
		}
	}
	return strings.Join(in, " and ")
}

// near is a user or a group, with the folded name.
type near struct {
	kind   string
	folded string
}

// nearSubject is a subject that others may be near to.
type nearSubject struct {
	near
	v1alpha1.Subject
}

func nearOf(subjects []v1alpha1.Subject) (out []nearSubject) {
	for _, s := range subjects {
		if s.Kind == v1alpha1.UserKind || s.Kind == v1alpha1.GroupKind {
			out = append(out, nearSubject{near{s.Kind, folded(s.Name, nothing)}, s})
		}
	}
	return out
}

// namesOf are the names of somebody and of his groups, by what is near to them.
func namesOf(user string, groups sets.Set[string]) map[near]string {
	names := map[near]string{{v1alpha1.UserKind, folded(user, nothing)}: user}
	for _, group := range sets.List(groups) {
		names[near{v1alpha1.GroupKind, folded(group, nothing)}] = group
	}
	return names
}

// nearMiss says to which of subjects one of some names is near; empty if none is.
func nearMiss(names map[near]string, subjects []nearSubject) string {
	for _, s := range subjects {
		if own, is := names[s.near]; is && own != s.Name {
			return "; " + subjectText(s.Subject) + " differs from " + quote(own) + " only in " + difference(own, s.Name)
		}
	}
	return ""
}

// nearRequester says which requester of a policy is nearly who asks, or one of his groups.
func (j *judge) nearRequester(c *Compiled) string {
	if j.nearly == nil {
		j.nearly = namesOf(j.requester, j.groups)
	}
	return nearMiss(j.nearly, c.nearly)
}

// nearGrantee says which grantee of a policy is nearly who would get the access.
func (j *judge) nearGrantee(c *Compiled) string {
	s := j.subject
	return nearMiss(map[near]string{{s.Kind, folded(s.Name, nothing)}: s.Name}, c.nearGrantees)
}

// NearMiss says which of those who may approve or revoke is nearly somebody who is none of
// them, or one of his groups, such as `; Group "leads" differs from "Leads" only in case`.
// It is empty if none is.
func NearMiss(who *v1alpha1.Identity, subjects []v1alpha1.Subject) string {
	return nearMiss(namesOf(who.Username, groupsThatCount(who)), nearOf(subjects))
}

// GroupsOf names the groups by which somebody might approve or revoke; empty if there are none.
func GroupsOf(who *v1alpha1.Identity) string { return listed(groupsThatCount(who)) }

// groupsText is the same in brackets.
func groupsText(groups sets.Set[string]) string {
	if own := listed(groups); own != "" {
		return " (groups: " + own + ")"
	}
	return ""
}

// listed names groups, those of Kubernetes left out, which everybody is in.
func listed(groups sets.Set[string]) string {
	var own []string
	for _, group := range sets.List(groups) {
		if !strings.HasPrefix(group, systemPrefix) {
			own = append(own, quote(group))
		}
	}
	if len(own) == 0 {
		return ""
	}
	return list(own)
}
