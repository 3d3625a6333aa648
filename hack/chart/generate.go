// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"golang.org/x/mod/semver"
	"sigs.k8s.io/yaml"

	"github.com/lapse-dev/lapse/hack/kustomized"
)

// These have [[ ]] for what is filled in here.
var (
	//go:embed Chart.yaml.tmpl
	chartTemplate string
	//go:embed values.yaml.tmpl
	valuesTemplate string
)

// object is one of config/.
type object = map[string]any

// generate makes the files that follow from config/: a template for each folder that
// config/default is made of and for each of hooks, the values with what config/ has, and
// Chart.yaml.
func generate(root, version, image string) (map[string][]byte, error) {
	folders, err := foldersOf(filepath.Join(root, "config/default/kustomization.yaml"))
	if err != nil {
		return nil, err
	}
	files, values, kinds := map[string][]byte{}, map[string]any{}, []object(nil)
	for _, name := range slices.Concat(folders, hooks) {
		objects, err := read(filepath.Join(root, "config", name), image)
		if err != nil {
			return nil, err
		}
		switch {
		case name == "crd":
			kinds = objects
		case slices.Contains(hooks, name):
			hook(objects)
		}
		if files[templateName(name)], err = templateOf(name, objects, values); err != nil {
			return nil, err
		}
	}
	if err := allUsed(values); err != nil {
		return nil, err
	}
	facts, err := factsOf(root, version, values, kinds)
	if err != nil {
		return nil, err
	}
	for name, text := range map[string]string{"Chart.yaml": chartTemplate, "values.yaml": valuesTemplate} {
		if files[name], err = fill(name, text, facts); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// foldersOf are the folders that a kustomization is made of, below config/.
func foldersOf(path string) ([]string, error) {
	var k struct {
		Resources []string `json:"resources"`
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if err := yaml.Unmarshal(data, &k); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for i, r := range k.Resources {
		k.Resources[i] = strings.TrimPrefix(r, "../")
	}
	return k.Resources, nil
}

func read(path, image string) ([]object, error) {
	built, err := kustomized.Build(path, image)
	if err != nil {
		return nil, err
	}
	objects := make([]object, 0, built.Size())
	for _, r := range built.Resources() {
		o, err := r.Map()
		if err != nil {
			return nil, err
		}
		objects = append(objects, o)
	}
	return objects, nil
}

// facts are what Chart.yaml and the values say of Lapse.
type facts struct {
	Version string // of the release, with a v
	Image   string
	Values  map[string]any
	Kinds   []kind
	// Examples are a policy and a request, in YAML.
	Examples []any
}

// kind is one of Lapse's.
type kind struct{ Kind, Version, Name, Description string }

func factsOf(root, version string, values map[string]any, crds []object) (*facts, error) {
	image, _ := values["image"].(string)
	repository, tag, digest := kustomized.Split(image)
	if version == "" {
		version = tag
	}
	// The tag of a release is its version.
	if tag == version {
		tag = ""
	}
	values["image.repository"], values["image.tag"], values["image.digest"] = repository, tag, digest
	f := &facts{Version: version, Image: image, Values: values}
	for _, crd := range crds {
		f.Kinds = append(f.Kinds, kindOf(crd))
	}
	for _, name := range []string{"accesspolicy", "accessrequest"} {
		data, err := os.ReadFile(filepath.Join(root, "config/samples/lapse_v1alpha1_"+name+".yaml"))
		if err != nil {
			return nil, err
		}
		var example any
		if err := yaml.Unmarshal(data, &example); err != nil {
			return nil, err
		}
		f.Examples = append(f.Examples, example)
	}
	return f, nil
}

func kindOf(crd object) kind {
	text := func(path string) string {
		s, _ := at(crd, path).(string)
		return s
	}
	about, _, _ := strings.Cut(text("spec.versions.0.schema.openAPIV3Schema.description"), ".")
	return kind{
		Kind: text("spec.names.kind"), Version: text("spec.versions.0.name"), Name: text("metadata.name"),
		Description: strings.Join(strings.Fields(about), " "),
	}
}

func fill(name, text string, f *facts) ([]byte, error) {
	functions := template.FuncMap{
		// A value as YAML, indented, on lines of its own if it is more than a scalar.
		"yaml": func(indent int, value any) (string, error) {
			data, err := yaml.Marshal(value)
			out := strings.TrimSuffix(string(data), "\n")
			switch value.(type) {
			case map[string]any, []any:
				pad := "\n" + strings.Repeat(" ", indent)
				out = pad + strings.ReplaceAll(out, "\n", pad)
			}
			return out, err
		},
		"value": func(name string) (any, error) {
			v, ok := f.Values[name]
			if !ok {
				return nil, fmt.Errorf("config/ has no value %s", name)
			}
			return v, nil
		},
		"number":     func(version string) string { return strings.TrimPrefix(version, "v") },
		"prerelease": func(version string) bool { return semver.Prerelease(version) != "" },
	}
	t, err := template.New(name).Delims("[[", "]]").Funcs(functions).Parse(text)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = t.Execute(&out, f)
	return out.Bytes(), err
}
