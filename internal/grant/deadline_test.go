// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"strings"
	"testing"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

func TestMisnamed(t *testing.T) {
	long := request()
	long.Name = strings.Repeat("a", 60)
	for name, tc := range map[string]struct {
		req  *v1alpha1.AccessRequest
		as   string
		want bool
	}{
		"as its request has it":           {request(), BindingName(request()), false},
		"with its name cut":               {long, BindingName(long), false},
		"with its name cut shorter":       {long, "lapse-aaa-6f1c2d3e", true},
		"with the uid alone":              {request(), "lapse-6f1c2d3e", true},
		"with the uid of another":         {request(), "lapse-debug-00000000", true},
		"with more than its request says": {request(), "lapse-debug-more-6f1c2d3e", true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBinding(tc.req, v1alpha1.Subject{}, "p", v1alpha1.Grant{Binding: tc.as})
			if got := Misnamed(b); got != tc.want {
				t.Errorf("Misnamed(%s) = %t", tc.as, got)
			}
		})
	}
}
