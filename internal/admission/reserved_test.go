// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	shipped "github.com/lapse-dev/lapse/config/admission"
)

func TestRequired(t *testing.T) {
	objects, err := Shipped(shipped.Files)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		reserved []string
		optional bool
	}{
		"kube-*":                          {reserved: []string{"lapse-system", "kube-*"}},
		"a wider prefix":                  {reserved: []string{"kube*"}},
		"everything":                      {reserved: []string{"*"}},
		"nothing":                         {optional: true},
		"others":                          {reserved: []string{"lapse-system", "vault-*"}, optional: true},
		"one of them":                     {reserved: []string{"kube-system"}, optional: true},
		"some of them":                    {reserved: []string{"kube-s*", "kube-p*"}, optional: true},
		"a name, which is not a prefix":   {reserved: []string{"kube-"}, optional: true},
		"an empty name":                   {reserved: []string{""}, optional: true},
		"a prefix that no namespace has":  {reserved: []string{"kube-**"}, optional: true},
		"a star that is not at the end":   {reserved: []string{"*-kube-"}, optional: true},
		"another prefix of the same size": {reserved: []string{"kubes*"}, optional: true},
	} {
		t.Run(name, func(t *testing.T) {
			required, optional := Required(objects, tc.reserved)
			if len(required)+len(optional) != len(objects) {
				t.Errorf("%d and %d of %d objects", len(required), len(optional), len(objects))
			}
			if named(required, ReservedPolicy) == tc.optional {
				t.Errorf("%s is required: %t", ReservedPolicy, !tc.optional)
			}
			if !tc.optional && len(optional) > 0 {
				t.Errorf("%d objects are optional", len(optional))
			}
			if tc.optional && len(optional) != 2 {
				t.Errorf("%d objects are optional, and not the policy and its binding", len(optional))
			}
		})
	}
}

func named(objects []*unstructured.Unstructured, name string) bool {
	return slices.ContainsFunc(objects, func(obj *unstructured.Unstructured) bool { return obj.GetName() == name })
}
