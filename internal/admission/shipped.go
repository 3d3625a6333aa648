// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// Group of the kinds of admission policies. The package of k8s.io/api that has it links all
// of them, and how each is encoded.
const Group = "admissionregistration.k8s.io"

// Shipped are the policies, the stamps and their bindings, out of the manifests of
// config/admission.
func Shipped(files fs.FS) ([]*unstructured.Unstructured, error) {
	policies, err := fs.Glob(files, "*.yaml")
	if err != nil {
		return nil, err
	}
	stamps, err := fs.Glob(files, "stamps/*.yaml")
	if err != nil {
		return nil, err
	}
	var out []*unstructured.Unstructured
	for _, name := range append(policies, stamps...) {
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		objects, err := decodePolicies(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, objects...)
	}
	if len(out) == 0 {
		return nil, errors.New("no admission policies are shipped")
	}
	return out, nil
}

func decodePolicies(data []byte) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), len(data))
	for {
		obj := &unstructured.Unstructured{}
		switch err := decoder.Decode(obj); {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, err
		}
		if obj.GroupVersionKind().Group == Group {
			setDefaults(obj)
			out = append(out, obj)
		}
	}
}

// setDefaults adds what the API server adds and the manifests leave out.
func setDefaults(obj *unstructured.Unstructured) {
	if _, found, _ := unstructured.NestedMap(obj.Object, "spec", "matchConstraints"); !found {
		return
	}
	for _, field := range []string{"namespaceSelector", "objectSelector"} {
		path := []string{"spec", "matchConstraints", field}
		if _, found, _ := unstructured.NestedMap(obj.Object, path...); !found {
			// It cannot fail: the parent is a map.
			_ = unstructured.SetNestedMap(obj.Object, map[string]any{}, path...)
		}
	}
}
