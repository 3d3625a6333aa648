// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"fmt"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const (
	folder = "../../charts/lapse"
	home   = "lapse-system"
	stamp  = "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"
)

// values are those that somebody sets.
type values = map[string]any

func load(t *testing.T) *chartv2.Chart {
	t.Helper()
	loaded, err := loader.LoadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

// render has what Helm makes of the chart for a cluster that serves these kinds, by file.
func render(t *testing.T, namespace string, set values, served ...string) (map[string]string, error) {
	t.Helper()
	loaded := load(t)
	capabilities := common.DefaultCapabilities.Copy()
	capabilities.APIVersions = append(common.VersionSet{"v1", "apps/v1"}, served...)
	options := common.ReleaseOptions{Name: "lapse", Namespace: namespace, Revision: 1, IsInstall: true}
	all, err := util.ToRenderValues(loaded, set, options, capabilities)
	if err != nil {
		return nil, err
	}
	return engine.Render(loaded, all)
}

// objects are those of what was rendered, by kind, namespace and name.
func objects(t *testing.T, files map[string]string) map[string]any {
	t.Helper()
	found := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if path.Ext(name) == ".yaml" {
			addObjects(t, found, files[name])
		}
	}
	return found
}

func addObjects(t *testing.T, found map[string]any, text string) {
	t.Helper()
	for document := range strings.SplitSeq("\n"+text, "\n---\n") {
		var o map[string]any
		if err := yaml.UnmarshalStrict([]byte(document), &o); err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		if o == nil {
			continue
		}
		meta, _ := o["metadata"].(map[string]any)
		id := fmt.Sprint(o["kind"], " ", meta["name"])
		if _, twice := found[id]; twice {
			t.Errorf("%s is there twice", id)
		}
		found[id] = o
	}
}

func kustomized(t *testing.T, folder string) map[string]any {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "../../"+folder)
	if err != nil {
		t.Fatal(err)
	}
	text, err := built.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]any{}
	addObjects(t, found, string(text))
	return found
}

func TestTheChartHasTheObjectsOfKustomize(t *testing.T) {
	for name, tc := range map[string]struct {
		served []string
		stamps string
		folder string
	}{
		"a server with stamps":                 {[]string{stamp}, "auto", "config/default"},
		"a server without":                     {nil, "auto", "config/overlays/without-mutating"},
		"stamps that nobody wants":             {[]string{stamp}, "never", "config/overlays/without-mutating"},
		"stamps, rendered without any cluster": {nil, "always", "config/default"},
	} {
		t.Run(name, func(t *testing.T) {
			files, err := render(t, "default", values{"namespace": values{"create": true}, "stamps": tc.stamps}, tc.served...)
			if err != nil {
				t.Fatal(err)
			}
			got, hooks := apart(objects(t, files))
			want := kustomized(t, tc.folder)
			if len(want) < 40 {
				t.Errorf("%s has only %d objects; it is read wrongly", tc.folder, len(want))
			}
			same(t, got, want, tc.folder)
			same(t, hooks, kustomized(t, "config/drain"), "config/drain")
		})
	}
}

func same(t *testing.T, got, want map[string]any, folder string) {
	t.Helper()
	for id := range want {
		if !reflect.DeepEqual(got[id], want[id]) {
			t.Errorf("%s differs.\nThe chart has:\n%s\n%s has:\n%s", id, text(t, got[id]), folder, text(t, want[id]))
		}
	}
	for id := range got {
		if want[id] == nil {
			t.Errorf("%s is in the chart, and not in %s", id, folder)
		}
	}
}

// apart are what is installed, and what is made before a release is removed, without the
// annotations that say so.
func apart(all map[string]any) (installed, hooks map[string]any) {
	installed, hooks = map[string]any{}, map[string]any{}
	for id, o := range all {
		object, _ := o.(map[string]any)
		meta, _ := object["metadata"].(map[string]any)
		annotations, _ := meta["annotations"].(map[string]any)
		if annotations["helm.sh/hook"] != "pre-delete" {
			installed[id] = o
			continue
		}
		meta = maps.Clone(meta)
		delete(meta, "annotations")
		object = maps.Clone(object)
		object["metadata"] = meta
		hooks[id] = object
	}
	return installed, hooks
}

func TestWhatAHookNeedsIsThereBeforeIt(t *testing.T) {
	files, err := render(t, home, nil)
	if err != nil {
		t.Fatal(err)
	}
	all := objects(t, files)
	for id, weight := range map[string]string{
		"ServiceAccount lapse-drain": "-1", "ClusterRole lapse-drain": "-1", "ClusterRoleBinding lapse-drain": "-1", "Job lapse-drain": "0",
	} {
		got := text(t, all[id])
		for _, part := range []string{": pre-delete\n", "-weight: \"" + weight + "\"\n", "-delete-policy: before-hook-creation,hook-succeeded\n"} {
			if !strings.Contains(got, "helm.sh/hook"+part) {
				t.Errorf("%s has no helm.sh/hook%s:\n%s", id, part, got)
			}
		}
	}
}

func text(t *testing.T, o any) string {
	t.Helper()
	out, err := yaml.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestByDefaultOnlyTheNamespaceIsSomebodyElses(t *testing.T) {
	files, err := render(t, home, nil, stamp)
	if err != nil {
		t.Fatal(err)
	}
	got := objects(t, files)
	for id := range kustomized(t, "config/default") {
		if (got[id] == nil) != (id == "Namespace "+home) {
			t.Errorf("%s: it is in the chart: %t", id, got[id] != nil)
		}
	}
}

func TestLintHasNothingToSay(t *testing.T) {
	lint := action.NewLint()
	lint.Strict, lint.Namespace = true, home
	result := lint.Run([]string{folder}, nil)
	for _, err := range result.Errors {
		t.Error(err)
	}
	for _, m := range result.Messages {
		// An icon is all that it recommends.
		if !strings.Contains(m.Error(), "icon is recommended") {
			t.Error(m)
		}
	}
	if result.TotalChartsLinted != 1 {
		t.Error("nothing was linted")
	}
}

func TestNotesHaveAPolicyAndARequest(t *testing.T) {
	for served, wanted := range map[string]string{stamp: "kind: AccessRequest", "v1": "#naming-yourself"} {
		files, err := render(t, home, nil, served)
		if err != nil {
			t.Fatal(err)
		}
		notes := files["lapse/templates/NOTES.txt"]
		for _, part := range []string{
			"kind: AccessPolicy", "kubectl lapse request view", "pod-security.kubernetes.io/enforce=restricted",
			"docs/operations.md#metrics", wanted,
		} {
			if !strings.Contains(notes, part) {
				t.Errorf("on a server with %s, they do not say %q:\n%s", served, part, notes)
			}
		}
		if strings.Contains(notes, " EOF\n") { // a shell looks for it at the beginning of a line
			t.Errorf("on a server with %s, what is pasted has no end:\n%s", served, notes)
		}
	}
}

func TestNotesSayWhatARemovalTakes(t *testing.T) {
	const goes, ends = "Policies and requests go with the kinds", "helm uninstall ends all access first"
	for name, tc := range map[string]struct {
		set   values
		says  string
		taken bool // policies and requests
	}{
		"by default":                     {nil, ends, true},
		"without a drain":                {values{"drainOnUninstall": false}, "end all access: kubectl lapse drain\n", true},
		"kinds that stay":                {values{"crds": values{"keep": true}}, ends, false},
		"kinds that are somebody else's": {values{"crds": values{"enabled": false}}, ends, false},
	} {
		t.Run(name, func(t *testing.T) {
			files, err := render(t, home, tc.set)
			if err != nil {
				t.Fatal(err)
			}
			notes := files["lapse/templates/NOTES.txt"]
			if !strings.Contains(notes, tc.says) || strings.Contains(notes, goes) != tc.taken {
				t.Errorf("they do not say %q, or not rightly (%t) %q:\n%s", tc.says, tc.taken, goes, notes)
			}
		})
	}
}

func TestArtifactHubHearsOfKindsAndImages(t *testing.T) {
	meta := load(t).Metadata
	var crds, examples []map[string]any
	var images []struct{ Name, Image string }
	for name, into := range map[string]any{"crds": &crds, "crdsExamples": &examples, "images": &images} {
		if err := yaml.Unmarshal([]byte(meta.Annotations["artifacthub.io/"+name]), into); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(crds) != 3 || len(examples) != 2 || len(images) != 1 {
		t.Fatalf("there are %d kinds, %d examples, %d images", len(crds), len(examples), len(images))
	}
	all := kustomized(t, "config/default")
	for _, crd := range crds {
		if all[fmt.Sprint("CustomResourceDefinition ", crd["name"])] == nil {
			t.Errorf("there is no %s", crd["name"])
		}
	}
	if image := images[0].Image; image != "ghcr.io/lapse-dev/lapse:"+meta.AppVersion {
		t.Errorf("the image is %s, and the version %s", image, meta.AppVersion)
	}
}
