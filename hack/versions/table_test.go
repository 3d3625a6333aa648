// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

func TestTheTableHoldsUntilFewerSpecsPass(t *testing.T) {
	const said = "| 1.31.13 | `config/default` | 273 | 39 | 3: about stamping |\n"
	for ran, want := range map[string]bool{
		said: true,
		"| 1.31.13 | `config/default` | 280 | 39 | 3: about stamping |\n":           true,
		"| 1.31.13 | `config/default` | 272 | 40 | 3: about stamping |\n":           false,
		"| 1.31.13 | `config/default` | 273 | 39, 1 failed | 3: about stamping |\n": false,
		"| 1.31.13 | `config/default` | 273 | 39 | 4: about stamping |\n":           false,
		"| 1.31.14 | `config/default` | 273 | 39 | 3: about stamping |\n":           false,
		said + said: false,
	} {
		if got := holds(said, ran); got != want {
			t.Errorf("what ran is %q: %t, want %t", ran, got, want)
		}
	}
}
