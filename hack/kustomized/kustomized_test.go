// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomized

import (
	"regexp"
	"slices"
	"testing"
)

var imageLine = regexp.MustCompile(`image: (\S+)`)

func TestEveryContainerHasTheImageThatIsNamed(t *testing.T) {
	for reference, want := range map[string]string{
		"":                                    "ghcr.io/lapse-dev/lapse:v0.1.0",
		"registry.example.com:5000/l/apse:v9": "registry.example.com:5000/l/apse:v9",
		"registry.example.com:5000/lapse@sha256:0000000000000000000000000000000000000000000000000000000000000000": "" +
			"registry.example.com:5000/lapse@sha256:0000000000000000000000000000000000000000000000000000000000000000",
	} {
		objects, err := Build("../../config/default", reference)
		if err != nil {
			t.Fatal(err)
		}
		text, err := objects.AsYaml()
		if err != nil {
			t.Fatal(err)
		}
		lines := imageLine.FindAllSubmatch(text, -1)
		images := make([]string, 0, len(lines))
		for _, found := range lines {
			images = append(images, string(found[1]))
		}
		if !slices.Equal(images, []string{want, want}) { // the operator, and the reaper
			t.Errorf("with %q, the images are %q, not twice %q", reference, images, want)
		}
	}
}

func TestAnImageWithoutATagIsRefused(t *testing.T) {
	for _, reference := range []string{"lapse", "registry.example.com:5000/lapse"} {
		if _, err := Build("../../config/default", reference); err == nil {
			t.Errorf("%s is taken: nobody knows which image it is", reference)
		}
	}
}
