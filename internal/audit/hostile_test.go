// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"encoding/json"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	words "github.com/lapse-dev/lapse/internal/text"
	"github.com/lapse-dev/lapse/test/hostile"
)

// hostileHistory has the same string in all that people write.
func hostileHistory(s string) (*v1alpha1.AccessRequest, []v1alpha1.AccessDecision) {
	req, decisions := revoked()
	req.Spec.Reason, req.Spec.RoleRef.Name, req.Spec.Subject.Name = s, s, s
	req.Spec.Requester = &v1alpha1.Identity{Username: s, UID: s, Groups: []string{s}, Extra: map[string]v1alpha1.ExtraValue{s: {s}}}
	req.Status.Approvals = []v1alpha1.Approval{{Decision: s, Reviewer: s, Time: metav1.NewTime(asked)}}
	req.Status.Grant.EndedBy = s
	for i := range req.Status.Conditions {
		req.Status.Conditions[i].Message = s
	}
	for i := range decisions {
		decisions[i].Spec.Comment, decisions[i].Spec.Reviewer.Username = s, s
	}
	return req, decisions
}

func TestARecordIsOneLineThatSaysWhatTheySaid(t *testing.T) {
	for _, s := range hostile.Strings(t) {
		chain, want := NewChain(s), string([]rune(s)) // JSON has a mark for bytes that are no text
		req, decisions := hostileHistory(s)
		for _, r := range append(Of("/clusters/1", req, decisions), Gone("/clusters/1", req, asked)...) {
			line, err := chain.Append(r)
			if err != nil {
				t.Fatal(err)
			}
			if printed := string(line); printed != words.Printable(printed, "") {
				t.Errorf("%.60q: a terminal would act on %.200q", s, printed)
			}
			var back Record
			if err := json.Unmarshal(line, &back); err != nil {
				t.Fatalf("%.60q: %v", s, err)
			}
			said := []string{back.Writer, back.Data.Request.Reason, back.Data.Request.Requester.Username, back.Data.Grant.EndedBy}
			if back.Data.Decision != nil {
				said = append(said, back.Data.Decision.Comment, back.Data.Decision.Reviewer.Username)
			}
			for _, got := range said {
				if got != want {
					t.Errorf("%s: %.60q came back as %.60q", r.Type, want, got)
				}
			}
		}
	}
}
