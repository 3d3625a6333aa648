// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// another is a request of alice's like that of revoked, under another name.
func another(name string, change func(*v1alpha1.AccessRequest)) *v1alpha1.AccessRequest {
	req, _ := revoked()
	req.Name, req.UID, req.Status.Grant.Binding = name, types.UID("uid-of-"+name), "lapse-"+name
	if change != nil {
		change(req)
	}
	return req
}

// recordsOf are those of several requests without decisions.
func recordsOf(reqs ...*v1alpha1.AccessRequest) []Record {
	var out []Record
	for _, req := range reqs {
		out = append(out, Of("/clusters/1", req, nil)...)
	}
	return out
}

// by has a call allowed by the grant of a request.
func by(req *v1alpha1.AccessRequest) func(*event) {
	return func(e *event) {
		e.Annotations[reasonAnnotation] = fmt.Sprintf("RBAC: allowed by RoleBinding %q of ClusterRole \"edit\" to User \"alice\"",
			req.Status.Grant.Binding+"/"+req.Namespace)
	}
}

func TestOfTwoGrantsOfOnePersonACallIsByOneAndBesideTheOther(t *testing.T) {
	first := another("first", nil) // from 5 to 60
	second := another("second", func(req *v1alpha1.AccessRequest) {
		req.Status.Grant.GrantedAt = after(20)
		end := after(90)
		req.Status.Grant.EndedAt = &end
	})
	elsewhere := another("elsewhere", func(req *v1alpha1.AccessRequest) { req.Namespace = "orders" })
	ofBob := another("of-bob", func(req *v1alpha1.AccessRequest) { req.Spec.Subject.Name = "bob" })
	log := logOf(t,
		logged("before-the-second", 10, by(first)),
		logged("by-first", 30, by(first)),
		logged("by-second", 31, by(second)),
		logged("after-the-first", 70, by(second)),
		logged("late-by-first", 61, by(first)), // the authorizer had not heard of the end
	)
	want := map[string][2]string{
		"first":     {"before-the-second by-first late-by-first", "by-second payments/second"},
		"second":    {"by-second after-the-first", "by-first payments/first late-by-first payments/first"},
		"elsewhere": {},
		"of-bob":    {},
	}
	for name, q := range map[string]Question{"both": {}, "one": {Request: "second"}} {
		histories := read(t, q, recordsOf(first, second, elsewhere, ofBob), log).Histories()
		if len(histories) != len(want) && q == (Question{}) {
			t.Fatalf("%d histories", len(histories))
		}
		for _, h := range histories {
			beside := ""
			for _, c := range h.Others {
				beside += " " + c.AuditID + " " + c.AllowedByGrant
			}
			if want := want[h.Request.Name]; idsOf(h.Calls) != want[0] || beside != "" && beside[1:] != want[1] || beside == "" && want[1] != "" {
				t.Errorf("%s: %s allowed %q, and beside it was %q", name, h.Request.Name, idsOf(h.Calls), beside)
			}
			for _, c := range h.Calls {
				if c.AllowedByGrant != "" {
					t.Errorf("%s: %s, which it allowed, is said to be allowed by %s", h.Request.Name, c.AuditID, c.AllowedByGrant)
				}
			}
		}
	}
}
