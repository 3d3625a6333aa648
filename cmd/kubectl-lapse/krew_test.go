// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"text/template"

	"sigs.k8s.io/yaml"
)

// krewPlugin is what krew reads of a manifest.
type krewPlugin struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Version          string         `json:"version"`
		Homepage         string         `json:"homepage"`
		ShortDescription string         `json:"shortDescription"`
		Description      string         `json:"description"`
		Caveats          string         `json:"caveats"`
		Platforms        []krewPlatform `json:"platforms"`
	} `json:"spec"`
}

type krewPlatform struct {
	Selector struct {
		MatchLabels map[string]string `json:"matchLabels"`
	} `json:"selector"`
	URI    string `json:"uri"`
	SHA256 string `json:"sha256"`
	Bin    string `json:"bin"`
}

var checksum = strings.Repeat("a1", 32)

// released fills the template in as the release bot does.
func released(t *testing.T, tag string) (plugin krewPlugin) {
	t.Helper()
	manifest := template.New("lapse.yaml").Funcs(template.FuncMap{"addURIAndSha": func(uri, tag string) string {
		return "uri: " + strings.ReplaceAll(uri, "{{ .TagName }}", tag) + "\n    sha256: " + checksum
	}})
	if _, err := manifest.ParseFiles(filepath.Join("..", "..", "hack", "krew", "lapse.yaml")); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := manifest.Execute(&out, map[string]string{"TagName": tag}); err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(out.Bytes(), &plugin); err != nil {
		t.Fatalf("%v in:\n%s", err, out.String())
	}
	return plugin
}

func TestKrewManifestIsWhatKrewAsksFor(t *testing.T) {
	plugin := released(t, "v0.1.0")
	if plugin.Kind != "Plugin" || plugin.Metadata.Name != "lapse" || plugin.Spec.Version != "v0.1.0" ||
		len(plugin.Spec.ShortDescription) > 50 {
		t.Errorf("krew would refuse this: %+v", plugin)
	}
	if len(plugin.Spec.Platforms) != 5 {
		t.Errorf("%d platforms", len(plugin.Spec.Platforms))
	}
	for _, p := range plugin.Spec.Platforms {
		archive := "kubectl-lapse_" + p.Selector.MatchLabels["os"] + "_" + p.Selector.MatchLabels["arch"] + ".tar.gz"
		if !strings.HasSuffix(p.URI, "/v0.1.0/"+archive) || p.SHA256 != checksum || !strings.HasPrefix(p.Bin, "kubectl-lapse") {
			t.Errorf("%+v does not name %s", p, archive)
		}
	}
}
