// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rbac holds what all roles that ship may never allow.
package rbac

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// roles are all that ship, by name: of the operator, of those around it, and of people.
func roles(t *testing.T) map[string][]rbacv1.PolicyRule {
	t.Helper()
	files, err := filepath.Glob("../*/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]rbacv1.PolicyRule{}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
		for {
			document, err := documents.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			kind, role := metav1.TypeMeta{}, rbacv1.ClusterRole{} // a Role has the same fields
			if err := errors.Join(err, yaml.Unmarshal(document, &kind)); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if kind.Kind != "ClusterRole" && kind.Kind != "Role" {
				continue
			}
			if err := yaml.UnmarshalStrict(document, &role); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			all[role.Name] = append(all[role.Name], role.Rules...)
		}
	}
	if len(all) < 10 {
		t.Fatalf("only %d roles; they are read wrongly", len(all))
	}
	return all
}

// allows says whether a rule names a verb on a resource, or all of them.
func allows(rule rbacv1.PolicyRule, verb, resource string) bool {
	return (slices.Contains(rule.Verbs, verb) || slices.Contains(rule.Verbs, "*")) &&
		slices.ContainsFunc(rule.Resources, func(r string) bool { return r == resource || r == "*" })
}

func TestNoRoleThatShipsAllowsWhatWouldUndoLapse(t *testing.T) {
	for name, rules := range roles(t) {
		for _, rule := range rules {
			// A denial that is deleted before it is seen is lost, and so is who approved.
			for _, verb := range []string{"delete", "deletecollection", "update", "patch"} {
				if allows(rule, verb, "accessdecisions") {
					t.Errorf("%s lets its holder %s decisions", name, verb)
				}
			}
			for _, verb := range []string{"escalate", "impersonate"} {
				if slices.Contains(rule.Verbs, verb) {
					t.Errorf("%s lets its holder %s", name, verb)
				}
			}
			if slices.Contains(rule.Verbs, "*") || slices.Contains(rule.Resources, "*") || slices.Contains(rule.APIGroups, "*") {
				t.Errorf("%s has a wildcard: %v", name, rule)
			}
			if strings.Contains(strings.Join(rule.Resources, " "), "secrets") {
				t.Errorf("%s says something of secrets: %v", name, rule)
			}
		}
	}
}

func TestTheDrainMayTakeAccessAwayAndNothingElse(t *testing.T) {
	want := []rbacv1.PolicyRule{
		{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"rolebindings"}, Verbs: []string{"list", "delete"}},
		{
			APIGroups: []string{rbacv1.GroupName}, Resources: []string{"clusterrolebindings"}, ResourceNames: []string{"lapse-granting"},
			Verbs: []string{"delete"},
		},
		{APIGroups: []string{"authorization.k8s.io"}, Resources: []string{"subjectaccessreviews"}, Verbs: []string{"create"}},
	}
	if got := roles(t)["lapse-drain"]; !reflect.DeepEqual(got, want) {
		t.Errorf("lapse-drain allows %v, want %v", got, want)
	}
}

func TestOneRoleAloneLetsTheOperatorMakeRoleBindings(t *testing.T) {
	var found []string
	for name, rules := range roles(t) {
		if slices.ContainsFunc(rules, func(r rbacv1.PolicyRule) bool { return allows(r, "create", "rolebindings") }) {
			found = append(found, name)
		}
	}
	if !slices.Equal(found, []string{"lapse-granting"}) {
		t.Errorf("RoleBindings are made by %v", found)
	}
}
