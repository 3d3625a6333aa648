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
	for image, want := range map[string]string{
		"registry.example.com/lapse:v0.2.0":           "v0.2.0",
		"registry.example.com/lapse":                  "",
		"localhost:5000/lapse":                        "",
		"localhost:5000/lapse:latest":                 "latest",
		"registry.example.com/lapse:v0.2.0@sha256:00": "v0.2.0",
		"registry.example.com/lapse@sha256:00":        "",
		"":                                            "",
	} {
		if got := tagOf(image); got != want {
			t.Errorf("tagOf(%q) = %q, want %q", image, got, want)
		}
	}
}

func TestOnlyTwoVersionsAreOfOthers(t *testing.T) {
	for tag, want := range map[string]bool{
		"v0.1.0": true, "v0.2.0-rc1": true, "v9": true,
		"v0.2.0": false, "fix-v0.2.0": false, "1f2e3d4": false, "latest": false, "": false,
	} {
		if got := areOfOthers(tag, "v0.2.0"); got != want {
			t.Errorf("areOfOthers(%q, v0.2.0) = %t, want %t", tag, got, want)
		}
	}
	if areOfOthers("v0.2.0", "unknown") {
		t.Error("a plugin that does not know its version takes the operator's for another one")
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
