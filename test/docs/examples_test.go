// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/lapse-dev/lapse/test/docs/page"
)

func TestEachExampleIsTestedOrSaysWhyNot(t *testing.T) {
	tested := 0
	for _, name := range pages(t) {
		if strings.HasPrefix(name, "docs/adr/") || slices.Contains(generated, name) {
			continue
		}
		examples, err := page.Examples(root, name)
		if err != nil {
			t.Error(err)
		}
		for _, e := range examples {
			if problem := untested(t, e); problem != "" {
				t.Errorf("%s: %s", e, problem)
			}
			if e.How != page.NotTested && e.How != page.Elsewhere {
				tested++
			}
		}
	}
	if tested < 50 {
		t.Errorf("only %d examples are tested; the pages are read wrongly", tested)
	}
}

// untested says why an example is not tested as it says; empty if it is.
func untested(t *testing.T, e *page.Example) string {
	t.Helper()
	switch e.How {
	case "":
		return "nothing says how this example is tested; see test/docs/page"
	case page.NotTested:
	case page.Elsewhere:
		if !strings.Contains(read(t, e.Path), e.Spec) {
			return "this is no spec of " + e.Path + ": " + e.Spec
		}
	case page.Is:
		if !sameManifest(t, e) {
			return "this is not " + e.Path
		}
	default:
		if !strings.Contains(read(t, "test/docs/examples/examples_test.go"), `"`+e.Page+`"`) {
			return "test/docs/examples does not read this page, so nothing runs the example"
		}
	}
	return ""
}

// read is a file of the repository.
func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// sameManifest says whether an example is what the file has of which it says so.
func sameManifest(t *testing.T, e *page.Example) bool {
	t.Helper()
	var shown, stored any
	for text, into := range map[string]*any{e.Text: &shown, read(t, e.Path): &stored} {
		if err := yaml.Unmarshal([]byte(text), into); err != nil {
			t.Errorf("%s: %v", e, err)
		}
	}
	return reflect.DeepEqual(shown, stored)
}
