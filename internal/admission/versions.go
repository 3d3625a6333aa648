// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// Version of an object is another one after each change of its spec.
type Version struct {
	UID types.UID `json:"uid"`
	// Generation is counted by the API server: each change of spec adds one.
	Generation int64 `json:"generation"`
}

// Versions are those of policies, stamps and their bindings, by kind and name.
type Versions map[string]Version

// proving are those by which it is proven who asks and who decides. They are in each version
// of Lapse.
var proving = []string{
	"ValidatingAdmissionPolicy " + RequesterPolicy, "ValidatingAdmissionPolicyBinding " + RequesterPolicy,
	"ValidatingAdmissionPolicy " + ReviewerPolicy, "ValidatingAdmissionPolicyBinding " + ReviewerPolicy,
}

// leadTo says whether nothing can have come between these versions and later ones: each object
// is the same, or was changed once, or is new and was never changed. Those that only the
// earlier version of Lapse ships say nothing.
func (v Versions) leadTo(later Versions) bool {
	for _, name := range proving {
		if _, known := v[name]; !known {
			return false
		}
	}
	for name, is := range later {
		if !v[name].leadsTo(is) {
			return false
		}
	}
	return true
}

func (v Version) leadsTo(later Version) bool {
	if v == (Version{}) {
		return later.Generation <= 1
	}
	return later == v || later == Version{v.UID, v.Generation + 1}
}

// and are these versions and later ones, of which some say nothing of some objects.
func (v Versions) and(later Versions) Versions {
	all := maps.Clone(v)
	if all == nil {
		all = Versions{}
	}
	maps.Copy(all, later)
	return all
}

// stay says whether later ones are the same. Stamps may come and go.
func (v Versions) stay(later Versions) bool {
	for name, is := range later {
		was := v[name]
		comesOrGoes := strings.HasPrefix(name, stampPrefix) && is.UID != was.UID
		if is != was && !comesOrGoes {
			return false
		}
	}
	return len(v) > 0
}

// add what is installed of an object that ships; nil, if it is missing.
func (l *Look) add(want, got *unstructured.Unstructured) {
	var v Version
	if got != nil {
		v = Version{got.GetUID(), got.GetGeneration()}
		if !IsStamp(want) {
			l.Newest = latest(l.Newest, got.GetCreationTimestamp().Time)
		}
	}
	l.Versions[want.GetKind()+" "+want.GetName()] = v
}
