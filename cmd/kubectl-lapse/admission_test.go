// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

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
