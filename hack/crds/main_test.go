// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

type (
	kind    = apiextensionsv1.CustomResourceDefinition
	version = apiextensionsv1.CustomResourceDefinitionVersion
	schema  = apiextensionsv1.JSONSchemaProps
	value   = apiextensionsv1.JSON
	rule    = apiextensionsv1.ValidationRule
)

// breaking are changes of AccessRequest, each with a part of what has to be said of it.
var breaking = map[string]struct {
	change func(*kind)
	says   string
}{
	"a removed field":              {at("spec", func(s *schema) { delete(s.Properties, "notAfter") }), "removed field"},
	"another type":                 {at("spec.reason", func(s *schema) { s.Type = "integer" }), "type changed"},
	"another format":               {at("spec.notAfter", func(s *schema) { s.Format = "date" }), "unhandled"},
	"another pattern":              {at("status.conditions.*.type", func(s *schema) { s.Pattern = "^a" }), "unhandled"},
	"another type of list":         {at("status.conditions", func(s *schema) { s.XListType = new("atomic") }), "unhandled"},
	"unknown fields that are kept": {at("spec", func(s *schema) { s.XPreserveUnknownFields = new(true) }), "unhandled"},
	"a field that is required now": {at("spec", func(s *schema) { s.Required = append(s.Required, "notAfter") }), "new required fields"},
	"a removed enum value":         {at("spec.roleRef.kind", func(s *schema) { s.Enum = s.Enum[:1] }), `enum values removed : ["Role"]`},
	"a first enum":                 {at("spec.reason", func(s *schema) { s.Enum = []value{{Raw: []byte(`"a"`)}} }), "enum constraint added"},
	"a lower maxLength":            {at("spec.reason", func(s *schema) { *s.MaxLength-- }), "maximum decreased"},
	"a first maxLength":            {at("spec.notAfter", func(s *schema) { s.MaxLength = new(int64(99)) }), "maximum constraint added"},
	"a higher minLength":           {at("spec.roleRef.name", func(s *schema) { *s.MinLength++ }), "minimum increased"},
	"a lower maxItems":             {at("status.conditions", func(s *schema) { *s.MaxItems-- }), "maximum decreased"},
	"a new default":                {at("spec.reason", func(s *schema) { s.Default = &value{Raw: []byte(`"none"`)} }), "default added"},
	"a removed default":            {at("status", func(s *schema) { s.Default = nil }), "default value removed"},
	"a new rule":                   {at("spec.reason", func(s *schema) { s.XValidations = append(s.XValidations, rule{}) }), "unhandled"},
	"a stricter rule":              {at("spec", func(s *schema) { s.XValidations[0].Rule += " && false" }), "unhandled"},
	"a rule for old ones, too":     {at("spec", func(s *schema) { s.XValidations[2].OptionalOldSelf = nil }), "unhandled"},
	"another scope":                {func(k *kind) { k.Spec.Scope = apiextensionsv1.ClusterScoped }, "scope changed"},
	"another group":                {func(k *kind) { k.Spec.Group = "lapse.example" }, "lapse.example"},
	"another short name":           {func(k *kind) { k.Spec.Names.ShortNames = []string{"ar"} }, "ShortNames"},
	"another version":              {inVersion(func(v *version) { v.Name = "v1beta1" }), "v1beta1"},
	"a version that is not served": {inVersion(func(v *version) { v.Served = false }), "Served"},
	"no subresource":               {inVersion(func(v *version) { v.Subresources = nil }), "Subresources"},
	"a removed selectable field":   {inVersion(func(v *version) { v.SelectableFields = v.SelectableFields[1:] }), "SelectableField"},
	"a conversion webhook": {func(k *kind) {
		k.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.WebhookConverter}
	}, "Webhook"},
}

func TestWhatMayBreakIsFound(t *testing.T) {
	for name, tc := range breaking {
		t.Run(name, func(t *testing.T) {
			if found := strings.Join(tried(t, tc.change), "\n"); !strings.Contains(found, tc.says) {
				t.Errorf("found %q, want something with %q", found, tc.says)
			}
		})
	}
}

func TestWhatAddsPasses(t *testing.T) {
	for name, change := range map[string]func(*kind){
		"nothing":                    func(*kind) {},
		"a new field":                at("spec", with(schema{Type: "string", MaxLength: new(int64(9))})),
		"a new field with a default": at("spec", with(schema{Type: "string", Default: &value{Raw: []byte(`"a"`)}})),
		"a new field with a rule":    at("spec", with(schema{Type: "string", XValidations: []rule{{Rule: "self == 'a'"}}})),
		"a new object with a field that it requires": at("spec", with(schema{
			Type: "object", Required: []string{"a"}, Properties: map[string]schema{"a": {Type: "string"}},
		})),
		"a new enum value":             at("status.state", func(s *schema) { s.Enum = append(s.Enum, value{Raw: []byte(`"Paused"`)}) }),
		"a higher maxLength":           at("spec.reason", func(s *schema) { *s.MaxLength++ }),
		"a field that may be left out": at("spec", func(s *schema) { s.Required = s.Required[1:] }),
		"other words":                  at("spec.reason", func(s *schema) { s.Description += "!" }),
		"a removed column":             inVersion(func(v *version) { v.AdditionalPrinterColumns = v.AdditionalPrinterColumns[1:] }),
	} {
		t.Run(name, func(t *testing.T) {
			if found := tried(t, change); len(found) > 0 {
				t.Error(strings.Join(found, "\n"))
			}
		})
	}
}

// tried is what is found when AccessRequest changes.
func tried(t *testing.T, change func(*kind)) []string {
	t.Helper()
	released, err := read(releasedDir + "/lapse.dev_accessrequests.yaml")
	if err != nil {
		t.Fatal(err)
	}
	current := released.DeepCopy()
	change(current)
	found, err := differences(released, current)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func inVersion(change func(*version)) func(*kind) {
	return func(k *kind) { change(&k.Spec.Versions[0]) }
}

// at changes the schema at a path; * is the items of a list.
func at(path string, change func(*schema)) func(*kind) {
	return inVersion(func(v *version) { within(v.Schema.OpenAPIV3Schema, strings.Split(path, "."), change) })
}

func within(s *schema, path []string, change func(*schema)) {
	switch {
	case len(path) == 0:
		change(s)
	case path[0] == "*":
		within(s.Items.Schema, path[1:], change)
	default:
		child := s.Properties[path[0]]
		within(&child, path[1:], change)
		s.Properties[path[0]] = child
	}
}

// with gives an object one more field.
func with(field schema) func(*schema) {
	return func(s *schema) { s.Properties["ticket"] = field }
}
