// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"maps"
	"strings"
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
	out := make([]Record, 0, 3*len(reqs))
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
			beside := make([]string, 0, len(h.Others))
			for _, c := range h.Others {
				beside = append(beside, c.AuditID+" "+c.AllowedByGrant)
			}
			if want := want[h.Request.Name]; idsOf(h.Calls) != want[0] || strings.Join(beside, " ") != want[1] {
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

// told is what a report tells of each request: relations, calls of the grant, beside it and refused.
func told(histories []*History) map[string]string {
	out := map[string]string{}
	for _, h := range histories {
		var is []Relation
		if h.Person != nil {
			is = h.Person.Is
		}
		out[h.Request.Name] = fmt.Sprint(is, " ", idsOf(h.Calls), " | ", idsOf(h.Others), " | ", idsOf(h.Refused))
	}
	return out
}

func TestAPersonIsFoundByWhatTheirGroupsWereGiven(t *testing.T) {
	toGroup := func(req *v1alpha1.AccessRequest) {
		req.Spec.Subject = &v1alpha1.Subject{Kind: v1alpha1.GroupKind, Name: "oncall"}
		req.Spec.Requester = &v1alpha1.Identity{Username: "boss"}
	}
	hers := another("hers", nil)
	ofGroup := another("of-group", toGroup)
	unused := another("unused", func(req *v1alpha1.AccessRequest) { toGroup(req); req.Namespace = "orders" })
	askedFor := another("asked-for", func(req *v1alpha1.AccessRequest) {
		toGroup(req)
		req.Namespace, req.Spec.Requester = "search", &v1alpha1.Identity{Username: "alice"}
	})
	as := func(who string, groups []string, change func(*event)) func(*event) {
		return func(e *event) {
			change(e)
			e.User = caller{who, groups}
		}
	}
	in := func(namespace string, change func(*event)) func(*event) {
		return func(e *event) { change(e); e.Object.Namespace = namespace }
	}
	refused := func(e *event) {
		e.Status.Code, e.Annotations = 403, map[string]string{decisionAnnotation: "forbid"}
	}
	oncall, nobody := []string{"oncall"}, []string{}
	events := []event{
		logged("hers", 10, by(hers)),
		logged("of-group", 11, by(ofGroup)),
		logged("of-bob", 12, as("bob", oncall, by(ofGroup))),
		logged("refused", 13, as("alice", oncall, refused)),
		logged("bob-refused", 14, as("bob", oncall, refused)),
		logged("of-bob-in-search", 15, in("search", as("bob", oncall, by(askedFor)))),
		logged("by-bob-as-alice", 16, func(e *event) { // bob is of the group, and she need not be
			as("bob", oncall, refused)(e)
			e.As = &caller{"alice", nobody}
		}),
	}
	all := recordsOf(hers, ofGroup, unused, askedFor)
	for name, tc := range map[string]struct {
		who    string
		events []event
		want   map[string]string
	}{
		"who called under it": {"alice", events, map[string]string{
			"hers":      "[grantee requester] hers | of-group | refused by-bob-as-alice",
			"of-group":  "[caller] of-group | hers | refused",
			"asked-for": "[requester] of-bob-in-search |  | ",
		}},
		"who was refused as a member": {"alice", []event{logged("refused", 13, as("alice", oncall, refused))}, map[string]string{
			"hers": "[grantee requester]  |  | refused", "of-group": "[caller]  |  | refused", "asked-for": "[requester]  |  | ",
		}},
		"in whose name a member called": {"alice", events[6:], map[string]string{
			"hers": "[grantee requester]  |  | by-bob-as-alice", "asked-for": "[requester]  |  | ",
		}},
		"where the log has no groups": {"alice", []event{logged("of-group", 11, as("alice", nobody, by(ofGroup)))}, map[string]string{
			"hers": "[grantee requester]  | of-group | ", "of-group": "[caller] of-group |  | ", "asked-for": "[requester]  |  | ",
		}},
		"after it was over": {"bob", []event{logged("late", 61, as("bob", oncall, refused))}, map[string]string{}},
		"another member": {"bob", events, map[string]string{
			"of-group":  "[caller] of-bob |  | bob-refused by-bob-as-alice",
			"asked-for": "[caller] of-bob-in-search |  | ",
		}},
		"the group": {"oncall", events, map[string]string{
			"of-group": "[grantee] of-group of-bob | hers | refused bob-refused by-bob-as-alice",
			"unused":   "[grantee]  |  | ", "asked-for": "[grantee] of-bob-in-search |  | ",
		}},
		"nobody of it": {"mallory", events, map[string]string{}},
	} {
		got := told(read(t, Question{Person: tc.who}, all, logOf(t, tc.events...)).Histories())
		if !maps.Equal(got, tc.want) {
			t.Errorf("%s: told is\n%v, want\n%v", name, got, tc.want)
		}
	}
}
