// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

var update = flag.Bool("update", false, "write into ../admission which fields are known")

// fieldsOf are the fields below a path, and the values that an enum has.
func fieldsOf(path string, schemas map[string]apiextensionsv1.JSONSchemaProps) (out []string) {
	for name := range schemas {
		schema, below := schemas[name], path+"."+name
		out = append(out, below)
		for _, value := range schema.Enum {
			out = append(out, below+"="+string(value.Raw))
		}
		out = append(out, fieldsOf(below, schema.Properties)...)
		inside := map[string]apiextensionsv1.JSONSchemaProps{}
		if schema.Items != nil {
			inside["[]"] = *schema.Items.Schema
		}
		if schema.AdditionalProperties != nil {
			inside["{}"] = *schema.AdditionalProperties.Schema
		}
		out = append(out, fieldsOf(below, inside)...)
	}
	return out
}

// By that, an operator that does not know a field grants nothing beside the admission policies of
// a version that does.
func TestAnAdmissionPolicyChangesWithTheFields(t *testing.T) {
	known := slices.Concat(
		fieldsOf("policy", specOf(t, "lapse.dev_accesspolicies.yaml")),
		fieldsOf("request", specOf(t, "lapse.dev_accessrequests.yaml")),
		fieldsOf("decision", specOf(t, "lapse.dev_accessdecisions.yaml")),
	)
	for _, field := range []string{"policy.conditions.[].expression", `policy.onRoleChange="Revoke"`, "request.notAfter", "decision.verdict"} {
		if !slices.Contains(known, field) {
			t.Fatalf("%s is not among %v", field, known)
		}
	}
	slices.Sort(known)
	const file = "../admission/policy_author.yaml"
	is, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(- name: knownFields\n    expression: ).*`)
	want := line.ReplaceAllString(string(is), fmt.Sprintf(`${1}"'%x'"`, sha256.Sum256([]byte(strings.Join(known, "\n")))))
	if *update {
		err = os.WriteFile(file, []byte(want), 0o600)
	}
	if err != nil || !line.Match(is) || want != string(is) && !*update {
		t.Fatalf("%s is not for these fields; run make generate (%v)", file, err)
	}
}
