// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"os"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// specOf is the schema of spec of a kind.
func specOf(t *testing.T, file string) map[string]apiextensionsv1.JSONSchemaProps {
	t.Helper()
	definition, err := os.ReadFile("bases/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var d apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(definition, &d); err != nil {
		t.Fatal(err)
	}
	return d.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties
}

// What people may write in a reason is tried with many characters, and in the others with some
// that are refused.
func TestAReasonACommentAndAMessageTakeTheSameCharacters(t *testing.T) {
	reason := specOf(t, "lapse.dev_accessrequests.yaml")["reason"]
	for name, field := range map[string]apiextensionsv1.JSONSchemaProps{
		"comment": specOf(t, "lapse.dev_accessdecisions.yaml")["comment"],
		"message": specOf(t, "lapse.dev_accesspolicies.yaml")["conditions"].Items.Schema.Properties["message"],
	} {
		if len(reason.XValidations) != 2 || len(field.XValidations) != 1 {
			t.Fatalf("a reason has %d rules, and a %s %d", len(reason.XValidations), name, len(field.XValidations))
		}
		got, want := field.XValidations[0].Rule, reason.XValidations[0].Rule
		if got != want || !strings.HasPrefix(want, "!self.matches(r'[^") {
			t.Errorf("the rule of a %s is %s, and that of a reason %s", name, got, want)
		}
	}
}
