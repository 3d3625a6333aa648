// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import "testing"

func TestThereAre200DifferentStringsAndMore(t *testing.T) {
	different := map[string]bool{}
	for _, s := range Strings(t) {
		different[s] = true
	}
	if len(different) < 200 {
		t.Errorf("there are %d", len(different))
	}
}
