// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"unicode"
	"unicode/utf8"

	authenticationv1 "k8s.io/api/authentication/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// Limits of extra, as the schema has them, and the stamp.
const (
	maxExtraKeys   = 32
	maxExtraKey    = 253 // characters
	maxExtraValues = 32
	maxExtraValue  = 256 // characters
)

// Extra is what a request keeps of what an authenticator says of its requester besides name, UID
// and groups: all of it, or nil if the schema does not take all.
func Extra(said map[string]authenticationv1.ExtraValue) map[string]v1alpha1.ExtraValue {
	if len(said) == 0 || len(said) > maxExtraKeys {
		return nil
	}
	out := make(map[string]v1alpha1.ExtraValue, len(said))
	for key, values := range said {
		if values == nil || len(values) > maxExtraValues || !fits(key, maxExtraKey) {
			return nil
		}
		for _, value := range values {
			if !fits(value, maxExtraValue) {
				return nil
			}
		}
		out[key] = v1alpha1.ExtraValue(values)
	}
	return out
}

// fits is false for what is no UTF-8, too: the API server could not stamp it.
func fits(s string, most int) bool {
	return utf8.RuneCountInString(s) <= most && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError })
}
