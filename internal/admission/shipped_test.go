// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"maps"
	"reflect"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/lapse-dev/lapse/api/v1alpha1"
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

// released are the ValidatingAdmissionPolicies that were released, or will be by the next version. A
// released name stays: the operator of the version before would find it missing, and grant nothing.
var released = []string{
	"lapse-decision-spec", "lapse-late-write", "lapse-leases", "lapse-managed-binding", "lapse-metadata", "lapse-new-account",
	"lapse-new-account-cluster", "lapse-persistence", "lapse-persistence-rolebindings", "lapse-policy-author", "lapse-request-spec",
	"lapse-requester", "lapse-reserved-namespaces", "lapse-reviewer", "lapse-status",
}

func TestThePoliciesThatShipAreThoseListed(t *testing.T) {
	objects, err := Shipped(shipped.Files)
	if err != nil {
		t.Fatal(err)
	}
	var ships []string
	for _, obj := range objects {
		if obj.GetKind() == "ValidatingAdmissionPolicy" {
			ships = append(ships, obj.GetName())
		}
	}
	if slices.Sort(ships); !slices.Equal(ships, released) {
		t.Errorf("these ship:\n%q\nand these have to, by ADR 21:\n%q\nadd a new one to the list, and take none out", ships, released)
	}
}

// kube-apiserver asks the stamp of ServiceAccounts once for each RoleBinding that is selected, and
// each costs whoever makes one.
func TestTheStampOfServiceAccountsIsAskedOfLenientGrantsAlone(t *testing.T) {
	objects, err := Shipped(shipped.Files)
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(objects, func(obj *unstructured.Unstructured) bool {
		return obj.GetKind() == "MutatingAdmissionPolicyBinding" && obj.GetName() == "lapse-new-account"
	})
	if at < 0 {
		t.Fatal("it does not ship")
	}
	selected, _, err := unstructured.NestedStringMap(objects[at].Object, "spec", "paramRef", "selector", "matchLabels")
	want := map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy, v1alpha1.WhileHeldLabel: string(v1alpha1.WhileHeldNoNewPower)}
	if err != nil || !maps.Equal(selected, want) {
		t.Errorf("it is asked of those with %v, %v; want %v", selected, err, want)
	}
}
