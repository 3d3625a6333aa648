// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// stampPrefix begins the kinds of stamps and of their bindings.
const stampPrefix = "Mutating"

// IsStamp says whether an object is a MutatingAdmissionPolicy, which only saves people
// from naming themselves, or a binding of one.
func IsStamp(obj *unstructured.Unstructured) bool {
	return strings.HasPrefix(obj.GetKind(), stampPrefix)
}

// Compare holds what is installed against what ships. get reads the installed object of
// the kind and name of the one given.
//
// A stamp may be missing. An altered one is a problem, since it writes into requests what
// their authors do not know of.
func Compare(shipped []*unstructured.Unstructured, get func(*unstructured.Unstructured) (*unstructured.Unstructured, error)) Look {
	look := Look{Versions: Versions{}, Remedy: "a cluster admin puts them back with: " + PutBack}
	var problems []string
	for _, want := range shipped {
		got, err := get(want)
		if err != nil && !apierrors.IsNotFound(err) {
			return Look{Unsure: true, Problem: fmt.Sprintf("reading %s %s: %v", want.GetKind(), want.GetName(), err), Remedy: "let the operator read it (config/rbac)"}
		}
		if err != nil {
			got = nil
		}
		look.add(want, got)
		if IsStamp(want) && got == nil {
			continue
		}
		if wrong := Wrong(got, want); wrong != "" {
			problems = append(problems, wrong)
			if IsStamp(want) {
				look.Remedy = "a cluster admin puts them back with: " + PutBack + "; " + PutStampsBack
			}
		}
	}
	look.Problem = strings.Join(problems, "; ")
	return look
}

// Wrong says what is wrong with an installed object, which is nil when it is missing; empty
// if it is what ships.
func Wrong(got, want *unstructured.Unstructured) string {
	name := want.GetKind() + " " + want.GetName()
	if got == nil {
		return name + " is missing"
	}
	if fields := changedFields(got, want); len(fields) > 0 {
		return fmt.Sprintf("%s is not what this version ships (%s)", name, strings.Join(fields, ", "))
	}
	if got.GetDeletionTimestamp() != nil && !IsStamp(want) {
		return name + " is being deleted"
	}
	return ""
}

// changedFields are those of spec that differ.
func changedFields(got, want *unstructured.Unstructured) []string {
	is, _, _ := unstructured.NestedMap(got.Object, "spec")
	shall, _, _ := unstructured.NestedMap(want.Object, "spec")
	names := slices.AppendSeq(slices.Collect(maps.Keys(is)), maps.Keys(shall))
	slices.Sort(names)
	var out []string
	for _, name := range slices.Compact(names) {
		if !equality.Semantic.DeepEqual(is[name], shall[name]) {
			out = append(out, "spec."+name)
		}
	}
	return out
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
