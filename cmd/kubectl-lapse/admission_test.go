// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/lapse-dev/lapse/internal/build"
)

func TestFlagOf(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"not given":                   {[]string{"--leader-elect"}, "default"},
		"empty":                       {[]string{"--reserved="}, ""},
		"with an equals sign":         {[]string{"--reserved=a,b", "--leader-elect"}, "a,b"},
		"as the next argument":        {[]string{"--reserved", "a,b"}, "a,b"},
		"with one dash":               {[]string{"-reserved=a"}, "a"},
		"twice: the last one counts":  {[]string{"--reserved=a", "--reserved=b"}, "b"},
		"another that begins with it": {[]string{"--reserved-too=a"}, "default"},
		"without a value":             {[]string{"--reserved"}, "default"},
		"a word that is no flag":      {[]string{"reserved=a"}, "default"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := flagOf(tc.args, "reserved", "default"); got != tc.want {
				t.Errorf("flagOf(%q) = %q, want %q", tc.args, got, tc.want)
			}
		})
	}
}

func TestTheTagOfAnImageIsFoundBesideADigest(t *testing.T) {
	for name, tc := range map[string]struct {
		image            string
		want, hasAnother bool
	}{
		"the tag":                       {"registry.example.com/lapse:v0.2.0", true, false},
		"another one":                   {"registry.example.com/lapse:v0.1.0", false, true},
		"one that ends in it":           {"registry.example.com/lapse:fix-v0.2.0", false, false},
		"one that begins with it":       {"registry.example.com/lapse:v0.2.0-rc1", false, true},
		"a commit":                      {"registry.example.com/lapse:1f2e3d4", false, false},
		"none":                          {"registry.example.com/lapse", false, false},
		"a port":                        {"localhost:5000/lapse", false, false},
		"the tag, and a digest":         {"registry.example.com/lapse:v0.2.0@sha256:00", true, false},
		"another one, and a digest":     {"registry.example.com/lapse:v0.1.0@sha256:00", false, true},
		"a digest, which says no tag":   {"registry.example.com/lapse@sha256:00", false, false},
		"a digest that ends like a tag": {"registry.example.com/lapse@sha256:v0.2.0", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := hasTag(tc.image, "v0.2.0"); got != tc.want {
				t.Errorf("hasTag(%q) = %t, want %t", tc.image, got, tc.want)
			}
			if got := hasOtherVersion(tc.image, "v0.2.0"); got != tc.hasAnother {
				t.Errorf("hasOtherVersion(%q) = %t, want %t", tc.image, got, tc.hasAnother)
			}
		})
	}
}

func TestADifferenceOfVersionsNamesTheImageAndWhatToDo(t *testing.T) {
	const missing = "ValidatingAdmissionPolicy lapse-x is missing"
	for name, tc := range map[string]struct{ image, ends string }{
		"an image":              {"example.com/lapse:v9", ": its image is example.com/lapse:v9"},
		"none that may be read": {"", ", " + build.Version()},
	} {
		t.Run(name, func(t *testing.T) {
			got := otherVersion(missing, tc.image)
			if !strings.HasPrefix(got.text, missing+"; but") || !strings.HasSuffix(got.text, tc.ends) {
				t.Errorf("it says %q, want it to end in %q", got.text, tc.ends)
			}
			if got.health != unchecked || !strings.Contains(got.mend, "the plugin of its version") {
				t.Errorf("it is %q, mended by %q", got.health, got.mend)
			}
		})
	}
}
