// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"reflect"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	shipped "github.com/lapse-dev/lapse/config/admission"
)

// Nobody gets past a policy by another version of what it guards.
func TestEachPolicyThatShipsMatchesAllVersions(t *testing.T) {
	objects, err := Shipped(shipped.Files)
	if err != nil {
		t.Fatal(err)
	}
	policies := 0
	for _, obj := range objects {
		constraints, found, err := unstructured.NestedMap(obj.Object, "spec", "matchConstraints")
		if err != nil || !found {
			continue // a binding
		}
		policies++
		if constraints["matchPolicy"] != "Equivalent" {
			t.Errorf("%s %s: matchPolicy is %v", obj.GetKind(), obj.GetName(), constraints["matchPolicy"])
		}
		for _, rule := range constraints["resourceRules"].([]any) {
			if versions := rule.(map[string]any)["apiVersions"]; !reflect.DeepEqual(versions, []any{"*"}) {
				t.Errorf("%s %s: apiVersions are %v", obj.GetKind(), obj.GetName(), versions)
			}
		}
	}
	if policies*2 != len(objects) {
		t.Errorf("%d of %d objects are policies; each has one binding", policies, len(objects))
	}
}
