// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/internal/grant"
)

// shippedPolicies are the admission policies and their bindings as they ship.
func shippedPolicies(files fs.FS) ([]*unstructured.Unstructured, error) {
	names, err := fs.Glob(files, "*.yaml")
	if err != nil {
		return nil, err
	}
	var out []*unstructured.Unstructured
	for _, name := range names {
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
		if obj.GroupVersionKind().Group == admissionregistrationv1.GroupName {
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

// compare looks at the installed policies. It finds those that are missing or not what
// they should be.
func compare(ctx context.Context, installed client.Reader, shipped []*unstructured.Unstructured) grant.Look {
	look := grant.Look{}
	var objects, problems []string
	for _, want := range shipped {
		got := &unstructured.Unstructured{}
		got.SetGroupVersionKind(want.GroupVersionKind())
		err := installed.Get(ctx, client.ObjectKeyFromObject(want), got)
		switch {
		case apierrors.IsNotFound(err):
			problems = append(problems, want.GetKind()+" "+want.GetName()+" is missing")
			continue
		case err != nil:
			return grant.Look{Unsure: true, Problem: fmt.Sprintf("reading %s %s: %v", want.GetKind(), want.GetName(), err), Remedy: "let the operator read it (config/rbac)"}
		case got.GetDeletionTimestamp() != nil:
			problems = append(problems, want.GetKind()+" "+want.GetName()+" is being deleted")
		}
		if fields := changedFields(got, want); len(fields) > 0 {
			problems = append(problems, fmt.Sprintf("%s %s is not what this version ships (%s)", want.GetKind(), want.GetName(), strings.Join(fields, ", ")))
		}
		objects = append(objects, fmt.Sprintf("%s/%d", got.GetUID(), got.GetGeneration()))
		look.Newest = latest(look.Newest, got.GetCreationTimestamp().Time)
	}
	look.Objects, look.Problem, look.Remedy = strings.Join(objects, " "), strings.Join(problems, "; "), "a cluster admin puts them back with: "+grant.PutBack
	return look
}

// changedFields are those of spec that differ.
func changedFields(got, want *unstructured.Unstructured) []string {
	is, _, _ := unstructured.NestedMap(got.Object, "spec")
	shall, _, _ := unstructured.NestedMap(want.Object, "spec")
	names := slices.AppendSeq(slices.Collect(maps.Keys(is)), maps.Keys(shall))
	slices.Sort(names)
	var out []string
	for _, name := range slices.Compact(names) {
		if !equality.Semantic.DeepEqual(is[name], shall[name]) {
			out = append(out, "spec."+name)
		}
	}
	return out
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
