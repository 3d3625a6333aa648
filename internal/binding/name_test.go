// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package binding

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// request is one that is called debug.
func request() *v1alpha1.AccessRequest {
	return &v1alpha1.AccessRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "debug", UID: "6f1c2d3e-0000"}}
}

func TestMisnamed(t *testing.T) {
	long := request()
	long.Name = strings.Repeat("a", 60)
	for name, tc := range map[string]struct {
		req  *v1alpha1.AccessRequest
		as   string
		want bool
	}{
		"as its request has it":           {request(), Name(request()), false},
		"with its name cut":               {long, Name(long), false},
		"with its name cut shorter":       {long, "lapse-aaa-6f1c2d3e", true},
		"with the uid alone":              {request(), "lapse-6f1c2d3e", true},
		"with the uid of another":         {request(), "lapse-debug-00000000", true},
		"with more than its request says": {request(), "lapse-debug-more-6f1c2d3e", true},
	} {
		t.Run(name, func(t *testing.T) {
			b := New(tc.req, v1alpha1.Subject{}, "", v1alpha1.Grant{Binding: tc.as})
			if got := Misnamed(b); got != tc.want {
				t.Errorf("Misnamed(%s) = %t", tc.as, got)
			}
		})
	}
}

func TestName(t *testing.T) {
	for name, want := range map[string]string{
		"debug":                  "lapse-debug-6f1c2d3e",
		strings.Repeat("a", 253): "lapse-" + strings.Repeat("a", 48) + "-6f1c2d3e",
		strings.Repeat("a.", 99): "lapse-" + strings.TrimSuffix(strings.Repeat("a.", 24), ".") + "-6f1c2d3e",
	} {
		req := request()
		req.Name = name
		if got := Name(req); got != want {
			t.Errorf("Name(%s) = %s, want %s", name, got, want)
		}
	}
}
