// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

func TestExtraIsKeptAsAWholeOrNotAtAll(t *testing.T) {
	type values = authenticationv1.ExtraValue
	many := func(n int) map[string]values {
		out := map[string]values{}
		for i := range n {
			out[fmt.Sprint("key-", i)] = values{"x"}
		}
		return out
	}
	for name, tc := range map[string]struct {
		said map[string]values
		kept bool
	}{
		"some":                         {map[string]values{"example.com/tier": {"gold", "eu"}, "example.com/none": {}}, true},
		"as many keys as may be":       {many(maxExtraKeys), true},
		"a key more":                   {many(maxExtraKeys + 1), false},
		"the longest key":              {map[string]values{strings.Repeat("ä", maxExtraKey): {"x"}}, true},
		"a longer key":                 {map[string]values{strings.Repeat("ä", maxExtraKey+1): {"x"}, "a": {"x"}}, false},
		"as many values as may be":     {map[string]values{"a": make(values, maxExtraValues)}, true},
		"a value more":                 {map[string]values{"a": make(values, maxExtraValues+1)}, false},
		"the longest value":            {map[string]values{"a": {strings.Repeat("ä", maxExtraValue)}}, true},
		"a longer value, among others": {map[string]values{"a": {"x", strings.Repeat("ä", maxExtraValue+1)}, "b": {"x"}}, false},
		"a key that acts":              {map[string]values{"a\x1b": {"x"}}, false},
		"a value that acts":            {map[string]values{"a": {"x\n"}}, false},
		"what is no UTF-8":             {map[string]values{"a": {"x\xff"}}, false},
		"null for values":              {map[string]values{"a": nil}, false},
		"none":                         {map[string]values{}, false},
		"nothing":                      {nil, false},
	} {
		want := map[string]v1alpha1.ExtraValue(nil)
		if tc.kept {
			want = map[string]v1alpha1.ExtraValue{}
			for key, v := range tc.said {
				want[key] = v1alpha1.ExtraValue(v)
			}
		}
		if got := Extra(tc.said); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: kept %v, want %v", name, got, want)
		}
	}
}
