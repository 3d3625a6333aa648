// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Command crds fails if a kind lost, changed or narrowed what the last release had.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/crdify/pkg/config"
	"sigs.k8s.io/crdify/pkg/runner"
	"sigs.k8s.io/crdify/pkg/validations"
	"sigs.k8s.io/yaml"
)

// The kinds of the last release, and those of today.
const (
	releasedDir = "released"
	currentDir  = "../../config/crd/bases"
)

// settings are those of crdify. What it cannot tell to be harmless, such as any change of a
// rule in CEL, is an error.
var settings = config.Config{Validations: []config.ValidationConfig{
	// Words get better. That they mean the same is for people to see.
	{Name: "description", Enforcement: config.EnforcementPolicyNone},
	// A new value is like a new field: what is stored stays valid.
	{Name: "enum", Enforcement: config.EnforcementPolicyError, Configuration: map[string]any{"additionPolicy": "Allow"}},
}}

func main() {
	found, err := compare()
	if err == nil && len(found) > 0 {
		err = fmt.Errorf("%s\nnot as released; CONTRIBUTING.md says what to do, see \"The kinds between releases\"", strings.Join(found, "\n"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// compare each kind that was released with what there is of it.
func compare() (found []string, err error) {
	files, err := filepath.Glob(filepath.Join(releasedDir, "*.yaml"))
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("there is no kind in %s", releasedDir)
	}
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		released, err := read(file)
		if err != nil {
			return nil, err
		}
		current, err := read(filepath.Join(currentDir, filepath.Base(file)))
		if err != nil {
			return nil, err
		}
		of, err := differences(released, current)
		if err != nil {
			return nil, err
		}
		found = append(found, of...)
	}
	return found, nil
}

// read a kind. A field that is not known here is refused, since it would not be compared.
func read(file string) (*apiextensionsv1.CustomResourceDefinition, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	kind := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(data, kind); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return kind, nil
}

// differences that may break stored objects, or programs that use the kind.
func differences(released, current *apiextensionsv1.CustomResourceDefinition) (found []string, err error) {
	crdify, err := runner.New(&settings, runner.DefaultRegistry())
	if err != nil {
		return nil, err
	}
	add := func(where string, results []validations.ComparisonResult) {
		for _, result := range results {
			for _, text := range result.Errors {
				found = append(found, fmt.Sprintf("%s: %s: %s", where, result.Name, text))
			}
		}
	}
	kind, results := released.Spec.Names.Kind, crdify.Run(released, current)
	add(kind, results.CRDValidation)
	for _, versions := range []map[string]map[string][]validations.ComparisonResult{results.SameVersionValidation, results.ServedVersionValidation} {
		for version, fields := range versions {
			for field, results := range fields {
				add(kind+" "+version+" "+field, results)
			}
		}
	}
	slices.Sort(found)
	if diff := cmp.Diff(besidesSchemas(released), besidesSchemas(current)); diff != "" {
		found = append(found, kind+": besides the schemas:\n"+diff)
	}
	return found, nil
}

// besidesSchemas is what crdify does not compare: names, versions, subresources, selectable
// fields. Columns are for people, and may change.
func besidesSchemas(kind *apiextensionsv1.CustomResourceDefinition) apiextensionsv1.CustomResourceDefinitionSpec {
	spec := kind.Spec.DeepCopy()
	for i := range spec.Versions {
		spec.Versions[i].Schema, spec.Versions[i].AdditionalPrinterColumns = nil, nil
	}
	return *spec
}
