// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const root = "../.."

func generated(t *testing.T, version, image string) map[string][]byte {
	t.Helper()
	files, err := generate(root, version, image)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestTheChartIsWhatConfigHas(t *testing.T) {
	files := generated(t, "", "")
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(root, folder, name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s/%s is not what config/ makes of it (%v): make generate", folder, name, err)
		}
	}
	templates, err := filepath.Glob(filepath.Join(root, folder, "templates", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range templates {
		if files["templates/"+filepath.Base(path)] == nil {
			t.Errorf("%s is of nothing in config/: make generate", path)
		}
	}
}

func TestAReleaseHasItsVersionAndImage(t *testing.T) {
	for name, tc := range map[string]struct {
		image string
		has   []string
	}{
		"a tag that is the version":   {"registry.example.com/lapse:v9.1.0", []string{"repository: registry.example.com/lapse\n", `tag: ""`}},
		"another tag":                 {"registry.example.com/lapse:other", []string{"tag: other\n"}},
		"a digest, and no tag at all": {"registry.example.com/lapse@sha256:00", []string{`tag: ""`, "digest: sha256:00\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			files := generated(t, "v9.1.0", tc.image)
			for _, part := range []string{"\nversion: 9.1.0\n", "appVersion: v9.1.0\n", "image: " + tc.image + "\n"} {
				if !strings.Contains(string(files["Chart.yaml"]), part) {
					t.Errorf("Chart.yaml has no %q:\n%s", part, files["Chart.yaml"])
				}
			}
			for _, part := range tc.has {
				if !strings.Contains(string(files["values.yaml"]), part) {
					t.Errorf("values.yaml has no %q:\n%s", part, files["values.yaml"])
				}
			}
		})
	}
}

// annotation is one of those that Artifact Hub reads.
func annotation(t *testing.T, version, name string) string {
	t.Helper()
	var chart struct{ Annotations map[string]string }
	if err := yaml.Unmarshal(generated(t, version, "")["Chart.yaml"], &chart); err != nil {
		t.Fatal(err)
	}
	return chart.Annotations["artifacthub.io/"+name]
}

func TestArtifactHubHearsWhatIsAPrerelease(t *testing.T) {
	for version, want := range map[string]string{
		"": "false", "v0.1.0": "false", "v9.1.0": "false", "v9.1.0-rc.1": "true", "v0.1.0-alpha": "true", "v9.1.0+a-b": "false",
	} {
		if got := annotation(t, version, "prerelease"); got != want {
			t.Errorf("of %q it hears %q, not %q", version, got, want)
		}
	}
}

func TestTheChangesOfTheChartAreInTheChangelogOfItsVersion(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(root, "CHANGELOG.md"))
	if err != nil {
		t.Fatal(err)
	}
	var chart struct{ Version string }
	if err := yaml.Unmarshal(generated(t, "", "")["Chart.yaml"], &chart); err != nil {
		t.Fatal(err)
	}
	// Before its release, what is new is not under its number.
	section := ""
	for part := range strings.SplitSeq(string(data), "\n## ") {
		title, _, _ := strings.Cut(part, "\n")
		if strings.Contains(title, chart.Version) || section == "" && title == "Unreleased" {
			section = strings.Join(strings.Fields(part), " ")
		}
	}
	var changes []struct{ Kind, Description string }
	if err := yaml.Unmarshal([]byte(annotation(t, "", "changes")), &changes); err != nil || len(changes) == 0 {
		t.Fatalf("it tells %d changes: %v", len(changes), err)
	}
	for _, change := range changes {
		if !strings.Contains(section, change.Description) {
			t.Errorf("the changelog of %s does not say %q", chart.Version, change.Description)
		}
	}
}

func TestTheArchiveHasTheSameBitsEachTime(t *testing.T) {
	archives := make([][]byte, 0, 2)
	for range 2 {
		path, err := pack(filepath.Join(root, folder), generated(t, "v9.1.0", ""), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(path) != "lapse-9.1.0.tgz" {
			t.Errorf("it is called %s", path)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		archives = append(archives, data)
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("two archives of the same source differ")
	}
}

func TestATemplateOfNothingGoes(t *testing.T) {
	chart := t.TempDir()
	for _, name := range []string{"old.yaml", "NOTES.txt"} {
		if err := os.MkdirAll(filepath.Join(chart, "templates"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(chart, "templates", name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := write(chart, map[string][]byte{"templates/new.yaml": nil}); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(chart, "templates", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for i, path := range left {
		left[i] = filepath.Base(path)
	}
	if !slices.Equal(left, []string{"NOTES.txt", "new.yaml"}) {
		t.Errorf("%q are left", left)
	}
}

func TestBracesOfConfigAreNotForHelm(t *testing.T) {
	o := object{"kind": "ConfigMap", "metadata": map[string]any{"name": "a"}, "data": "{{ .Values }}"}
	text, err := document(o, map[string]any{})
	if err != nil || !strings.Contains(text, `{{ "{{" }} .Values }}`) {
		t.Errorf("%s (%v)", text, err)
	}
}

func TestAnEditOfWhatIsGoneIsAnError(t *testing.T) {
	o := object{"kind": "Deployment", "metadata": map[string]any{"name": "lapse-manager"}, "spec": map[string]any{}}
	if _, err := document(o, map[string]any{}); err == nil || !strings.Contains(err.Error(), "replicas") {
		t.Errorf("the answer is %v, and does not name what is gone", err)
	}
}
