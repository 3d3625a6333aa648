// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package telling

import (
	"fmt"
	"slices"
	"strings"
)

// tokens are the files with bearer tokens, by the URL that gets what is in them. A token is for
// one receiver: another one that got it could send records in the name of the operator.
func (t Targets) tokens() (map[string]string, error) {
	files, nameless := map[string]string{}, []string{}
	for i, given := range t.TokenFiles {
		if !strings.Contains(given, "://") {
			nameless = append(nameless, given)
			continue
		}
		end := strings.LastIndex(given, "=") // a URL may have some in its query
		if end < 0 || end == len(given)-1 || !slices.Contains(t.To, given[:end]) {
			return nil, fmt.Errorf("token %d is for a URL that is none of these, or has no file; "+
				"--record-token-file has to be PATH, or URL=PATH with a URL as --record-to has it", i+1)
		}
		if files[given[:end]] != "" {
			return nil, fmt.Errorf("token %d is for a URL that has one; give each URL one --record-token-file at the most", i+1)
		}
		files[given[:end]] = given[end+1:]
	}
	var without []string
	for _, to := range t.To {
		if isURL(to) && files[to] == "" && !slices.Contains(without, to) {
			without = append(without, to)
		}
	}
	switch {
	case len(nameless) == 0 || len(without) == 0:
		return files, nil
	case len(nameless) > 1 || len(without) > 1:
		return nil, fmt.Errorf("--record-token-file names no URL, of %d without a token of their own; it may do so for one file and one URL. "+
			"Say for each which URL gets it: --record-token-file=URL=%s", len(without), nameless[0])
	}
	files[without[0]] = nameless[0]
	return files, nil
}

func isURL(target string) bool { return !slices.Contains([]string{"stdout", "file"}, kindOf(target)) }
