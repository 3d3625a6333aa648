// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"errors"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	shipped "github.com/lapse-dev/lapse/config/admission"
)

func TestCompare(t *testing.T) {
	objects, err := Shipped(shipped.Files)
	if err != nil {
		t.Fatal(err)
	}
	notFound := apierrors.NewNotFound(schema.GroupResource{}, "x")
	alter := func(obj *unstructured.Unstructured) {
		if err := unstructured.SetNestedField(obj.Object, "Ignore", "spec", "failurePolicy"); err != nil {
			t.Error(err)
		}
	}
	const guard, stamp = "ValidatingAdmissionPolicy lapse-reviewer", "MutatingAdmissionPolicy lapse-reviewer"
	whole := Compare(objects, installed("", nil, nil))
	if whole.Problem != "" || len(whole.Versions) == 0 {
		t.Errorf("all are as they ship: %+v", whole)
	}
	for name, tc := range map[string]struct {
		object  string
		change  func(*unstructured.Unstructured)
		err     error
		problem string
		unsure  bool
		remedy  string
	}{
		"a guard is missing": {object: guard, err: notFound, problem: guard + " is missing", remedy: PutBack},
		"a guard is altered": {
			object: guard, change: alter, problem: guard + " is not what this version ships (spec.failurePolicy)", remedy: PutBack,
		},
		"a guard cannot be read": {object: guard, err: errors.New("no answer"), problem: "reading " + guard + ": no answer", unsure: true},
		"a stamp is missing":     {object: stamp, err: notFound},
		"a stamp is altered": {
			object: stamp, change: alter, problem: stamp + " is not what this version ships (spec.failurePolicy)", remedy: PutStampsBack,
		},
		"a stamp cannot be read": {object: stamp, err: errors.New("no answer"), problem: "reading " + stamp + ": no answer", unsure: true},
	} {
		t.Run(name, func(t *testing.T) {
			look := Compare(objects, installed(tc.object, tc.change, tc.err))
			if look.Problem != tc.problem || look.Unsure != tc.unsure || !strings.Contains(look.Remedy, tc.remedy) {
				t.Errorf("look = %+v", look)
			}
			if tc.object == stamp && !tc.unsure && !whole.Versions.stay(look.Versions) {
				t.Error("a stamp changes what stands for all policies, which is a gap")
			}
		})
	}
}

// installed reads what ships, but for one object.
func installed(object string, change func(*unstructured.Unstructured),
	err error,
) func(*unstructured.Unstructured) (*unstructured.Unstructured, error) {
	return func(want *unstructured.Unstructured) (*unstructured.Unstructured, error) {
		if want.GetKind()+" "+want.GetName() != object {
			return want, nil
		}
		got := want.DeepCopy()
		if change != nil {
			change(got)
		}
		return got, err
	}
}
