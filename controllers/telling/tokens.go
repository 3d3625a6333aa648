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
			return nil, fmt.Errorf("token %d is for a URL that --record-to does not have, or has no file; "+
				"--record-token-file has to be PATH, or URL=PATH with a URL as --record-to has it", i+1)
		}
		if files[given[:end]] != "" {
			return nil, fmt.Errorf("token %d is for a URL that has one; give each URL one --record-token-file at the most", i+1)
		}
		files[given[:end]] = given[end+1:]
	}
	if len(nameless) == 0 {
		return files, nil
	}
	to, err := t.onlyURLWithout(files, nameless)
	if err != nil {
		return nil, err
	}
	files[to] = nameless[0]
	return files, nil
}

// onlyURLWithout a token of its own is that for which a file need not say so.
func (t Targets) onlyURLWithout(tokens map[string]string, nameless []string) (string, error) {
	var without []string
	for _, to := range t.To {
		if isURL(to) && tokens[to] == "" && !slices.Contains(without, to) {
			without = append(without, to)
		}
	}
	switch {
	case len(without) == 0:
		return "", fmt.Errorf("--record-token-file=%s is for no URL: --record-to has none without a token of its own; leave it out", nameless[0])
	case len(nameless) > 1:
		return "", fmt.Errorf("--record-token-file=%s and %d more do not say which URL gets them; give URL=PATH for each", nameless[0], len(nameless)-1)
	case len(without) > 1:
		return "", fmt.Errorf("--record-token-file=%s does not say which of %d URLs gets it; give URL=PATH for each", nameless[0], len(without))
	}
	return without[0], nil
}

func isURL(target string) bool { return !slices.Contains([]string{"stdout", "file"}, kindOf(target)) }
