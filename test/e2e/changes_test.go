// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/lapse-dev/lapse/internal/audit"
)

// missed are the changes to a file of records, of so many at random, that nobody finds who kept
// the heads elsewhere.
func missed(random *rand.Rand, file []byte, heads []audit.Head, changes int) []string {
	var lines [][]byte
	for line := range bytes.Lines(file) {
		if json.Valid(line) { // else a kill broke it off, and it is no record
			lines = append(lines, line)
		}
	}
	lines = slices.CompactFunc(lines, bytes.Equal) // a receiver may get one twice
	var out []string
	for range changes {
		changed, what := changeOf(random, lines)
		v := audit.NewVerifier(heads...)
		if v.Read("changed", bytes.NewReader(changed)) == nil && len(v.Result().Findings) == 0 {
			out = append(out, what)
		}
	}
	return out
}

// changeOf one byte, one line that is gone, or two that changed places.
func changeOf(random *rand.Rand, lines [][]byte) (changed []byte, what string) {
	switch i := random.IntN(len(lines)); random.IntN(3) {
	case 0:
		changed = bytes.Join(lines, nil)
		at, by := random.IntN(len(changed)), byte(1+random.IntN(255))
		changed[at] ^= by
		return changed, fmt.Sprintf("byte %d changed by %#x", at, by)
	case 1:
		return bytes.Join(slices.Delete(slices.Clone(lines), i, i+1), nil), fmt.Sprintf("line %d removed", i+1)
	default:
		for {
			j, swapped := random.IntN(len(lines)), slices.Clone(lines)
			swapped[i], swapped[j] = swapped[j], swapped[i]
			if !maps.EqualFunc(chainsOf(lines), chainsOf(swapped), slices.Equal) {
				return bytes.Join(swapped, nil), fmt.Sprintf("lines %d and %d swapped", i+1, j+1)
			}
		}
	}
}

// chainsOf are the lines of each writer. How those of several lie among each other says
// nothing: the last of one and the first of the next may change places.
func chainsOf(lines [][]byte) map[string][]string {
	out := map[string][]string{}
	for _, line := range lines {
		var link audit.Link
		if json.Unmarshal(line, &link) == nil {
			out[link.Writer] = append(out[link.Writer], string(line))
		}
	}
	return out
}
