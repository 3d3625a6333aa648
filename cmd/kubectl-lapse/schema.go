// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"github.com/lapse-dev/lapse/config/crd"
)

// crdSchema is what the API server holds an object against before anything else sees it.
type crdSchema struct {
	values     validation.SchemaValidator
	structural *structuralschema.Structural
	rules      *cel.Validator
}

// The schemas of this version of Lapse.
var (
	policySchema  = sync.OnceValues(func() (*crdSchema, error) { return newSchema(crd.AccessPolicies) })
	requestSchema = sync.OnceValues(func() (*crdSchema, error) { return newSchema(crd.AccessRequests) })
)

// newSchema is that of a CustomResourceDefinition, in YAML, with one version.
func newSchema(definition []byte) (*crdSchema, error) {
	var d apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(definition, &d); err != nil {
		return nil, err
	}
	props := &apiextensions.JSONSchemaProps{}
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(d.Spec.Versions[0].Schema.OpenAPIV3Schema, props, nil); err != nil {
		return nil, err
	}
	values, _, err := validation.NewSchemaValidator(props)
	if err != nil {
		return nil, err
	}
	structural, err := structuralschema.NewStructural(props)
	if err != nil {
		return nil, err
	}
	return &crdSchema{values, structural, cel.NewValidator(structural, true, celconfig.PerCallLimit)}, nil
}

// refuses says why the API server would not take an object; empty if it would. As there,
// rules are asked only of an object that has the right shape.
func (s *crdSchema) refuses(ctx context.Context, object map[string]any) (reasons []string) {
	problems := validation.ValidateCustomResource(nil, object, s.values)
	problems = append(problems, listtype.ValidateListSetsAndMaps(nil, s.structural, object)...)
	if len(problems) == 0 {
		problems, _ = s.rules.Validate(ctx, nil, s.structural, object, nil, celconfig.RuntimeCELCostBudget)
	}
	return serverSays(problems)
}

// metadataRefuses says why the API server would not take a policy of that name, labels and so
// on, which no schema holds. It drops the namespace of what has none.
func metadataRefuses(meta metav1.ObjectMeta) []string {
	meta.Namespace = metav1.NamespaceNone
	return serverSays(apivalidation.ValidateObjectMeta(&meta, false, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata")))
}

func serverSays(problems field.ErrorList) (reasons []string) {
	for _, p := range problems {
		reasons = append(reasons, "the API server would refuse it: "+p.Error())
	}
	return reasons
}
