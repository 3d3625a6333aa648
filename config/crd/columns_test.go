// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"fmt"
	"os"
	"regexp"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresource/tableconvertor"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// columnsOf is what kubectl get prints of an object, by the name of the column; wide has
// those as well that it prints with -o wide alone.
func columnsOf(t *testing.T, definition []byte, obj runtime.Object) (narrow, wide map[string]string) {
	t.Helper()
	var d apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(definition, &d); err != nil {
		t.Fatal(err)
	}
	convertor, err := tableconvertor.New(d.Spec.Versions[0].AdditionalPrinterColumns)
	if err != nil {
		t.Fatal(err)
	}
	shown, err := convertor.ConvertToTable(t.Context(), obj, nil)
	if err != nil {
		t.Fatal(err)
	}
	narrow, wide = map[string]string{}, map[string]string{}
	for i, column := range shown.ColumnDefinitions {
		cell := ""
		if value := shown.Rows[0].Cells[i]; value != nil {
			cell = fmt.Sprint(value)
		}
		wide[column.Name] = cell
		if column.Priority == 0 {
			narrow[column.Name] = cell
		}
	}
	return narrow, wide
}

func TestExpiresIsWhenAccessEndedIfItDid(t *testing.T) {
	begin := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	at := func(minutes int) metav1.Time { return metav1.NewTime(begin.Add(time.Duration(minutes) * time.Minute)) }
	ended := at(7)
	for name, tc := range map[string]struct {
		grant *v1alpha1.Grant
		want  string
	}{
		"not granted": {nil, ""},
		"held":        {&v1alpha1.Grant{GrantedAt: at(0), ExpiresAt: at(60)}, "2026-12-01T13:00:00Z"},
		"ended early": {&v1alpha1.Grant{GrantedAt: at(0), ExpiresAt: at(60), EndedAt: &ended}, "2026-12-01T12:07:00Z"},
	} {
		narrow, wide := columnsOf(t, AccessRequests, &v1alpha1.AccessRequest{Status: v1alpha1.AccessRequestStatus{Grant: tc.grant}})
		if got := narrow["Expires"]; got != tc.want {
			t.Errorf("%s: EXPIRES is %q, want %q", name, got, tc.want)
		}
		if began := wide["Began"]; (began == "2026-12-01T12:00:00Z") != (tc.grant != nil) {
			t.Errorf("%s: BEGAN is %q", name, began)
		}
	}
}

// Of a list a column prints the first member alone.
func TestRolesAreAllThatAPolicyOffers(t *testing.T) {
	const all = "view, edit, role/migrate"
	p := &v1alpha1.AccessPolicy{Status: v1alpha1.AccessPolicyStatus{Roles: all}}
	p.Spec.Roles = []v1alpha1.RoleRef{{Kind: v1alpha1.ClusterRoleKind, Name: "view"}, {Kind: v1alpha1.ClusterRoleKind, Name: "edit"}}
	if _, wide := columnsOf(t, AccessPolicies, p); wide["Roles"] != all {
		t.Errorf("ROLES is %q", wide["Roles"])
	}
}

// reasons are all that Ready may have, as they are written down.
func reasons(t *testing.T) (all []string) {
	t.Helper()
	source, err := os.ReadFile("../../api/v1alpha1/conditions.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range regexp.MustCompile(`Reason\w+ = "(\w+)"`).FindAllStringSubmatch(string(source), -1) {
		all = append(all, found[1])
	}
	if len(all) < 20 {
		t.Fatalf("found only %q", all)
	}
	return all
}

func TestColumnsFit80CharactersWhateverTheReasonIs(t *testing.T) {
	const gap = 3 // which kubectl puts between columns
	for _, reason := range reasons(t) {
		req := &v1alpha1.AccessRequest{
			ObjectMeta: metav1.ObjectMeta{Name: "edit-x7k2p"},
			Spec:       v1alpha1.AccessRequestSpec{Subject: &v1alpha1.Subject{Name: "alice"}, RoleRef: v1alpha1.RoleRef{Name: "edit"}},
		}
		req.Status.Grant = &v1alpha1.Grant{ExpiresAt: metav1.NewTime(time.Now())}
		req.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Reason: reason}}
		narrow, _ := columnsOf(t, AccessRequests, req)
		narrow["Age"] = "59m"
		width := -gap
		for header, cell := range narrow {
			width += gap + max(len(header), len(cell))
		}
		if width > 80 {
			t.Errorf("with the reason %s it is %d characters wide: %q", reason, width, narrow)
		}
	}
}
