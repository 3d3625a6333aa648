// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

func TestCountSaysWhyAnApprovalWouldChangeNothing(t *testing.T) {
	now := time.Now()
	vote := func(req *v1alpha1.AccessRequest, who string, groups ...string) v1alpha1.AccessDecision {
		d := builders.Decision(who, req, v1alpha1.VerdictApprove)
		d.CreationTimestamp = req.CreationTimestamp
		d.Spec.Reviewer = &v1alpha1.Identity{Username: who, Groups: groups}
		return *d
	}
	p := builders.Policy("p").ApprovedBy(builders.Group("leads")).ApprovedBy(builders.Group("security")).Build()
	for name, tc := range map[string]struct {
		votes []string // user/group
		me    v1alpha1.Identity
		age   time.Duration
		want  string
	}{
		"the first of two":  {nil, v1alpha1.Identity{Username: "bob", Groups: []string{"leads"}}, 0, ""},
		"the second of two": {[]string{"dave/security"}, v1alpha1.Identity{Username: "bob", Groups: []string{"leads"}}, 0, ""},
		"one who makes room for another": {
			[]string{"both/leads,security"}, v1alpha1.Identity{Username: "bob", Groups: []string{"leads"}}, 0, "",
		},
		"the second lead": {
			[]string{"zoe/leads"},
			v1alpha1.Identity{Username: "bob", Groups: []string{"leads"}},
			0,
			`nobody is needed any more out of those for whom you stand; it waits for 1 of Group "security"; approved by "zoe"`,
		},
		"the same person again": {
			[]string{"bob/leads"}, v1alpha1.Identity{Username: "bob", Groups: []string{"leads"}}, 0, "you (bob) approved it already",
		},
		"after the time in which it is asked": {
			nil, v1alpha1.Identity{Username: "bob", Groups: []string{"leads"}}, 2 * time.Hour, "late had to be approved by",
		},
	} {
		t.Run(name, func(t *testing.T) {
			req := builders.Request("late").In("payments").By("alice").Build()
			req.UID, req.CreationTimestamp = "u", metav1.NewTime(now.Add(-tc.age).Truncate(time.Second))
			var votes []v1alpha1.AccessDecision
			for _, v := range tc.votes {
				who, groups, _ := strings.Cut(v, "/")
				votes = append(votes, vote(req, who, strings.Split(groups, ",")...))
			}
			b := &ballot{plugin: &plugin{clock: &serverClock{}}, req: req, me: &tc.me}
			if got := b.count(p, votes); got != tc.want && (tc.want == "" || !strings.HasPrefix(got, tc.want)) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
