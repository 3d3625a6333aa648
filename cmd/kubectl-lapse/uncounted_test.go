// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

// deaf is a cluster whose operator counts only the approval of carol, which comes in meanwhile.
type deaf struct {
	policy *v1alpha1.AccessPolicy
	posted int
}

func (s *deaf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	var answer any
	switch {
	case r.Method == http.MethodPost:
		d := &v1alpha1.AccessDecision{}
		_ = json.NewDecoder(r.Body).Decode(d)
		d.Name, answer = "mine", d
		s.posted++
	case strings.Contains(r.URL.Path, "accesspolicies"):
		answer = s.policy
	case strings.Contains(r.URL.Path, "accessdecisions"):
		answer = &v1alpha1.AccessDecisionList{TypeMeta: kindOf("AccessDecisionList")}
	default:
		req := waitingRequest()
		req.Status.Policy = &v1alpha1.PolicyReference{Name: "p"}
		if req.ResourceVersion = "1"; s.posted > 0 {
			req.ResourceVersion = "2"
			req.Status.Approvals = []v1alpha1.Approval{{Decision: "hers", Reviewer: "carol"}}
		}
		answer = &v1alpha1.AccessRequestList{TypeMeta: kindOf("AccessRequestList"), Items: []v1alpha1.AccessRequest{*req}}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func TestADecisionThatDoesNotCountIsAFailureAndSaysWhy(t *testing.T) {
	const see = "; slow is Pending; see kubectl lapse why slow -n payments"
	for verdict, want := range map[v1alpha1.Verdict]string{ //nolint:exhaustive // a revocation is judged as a denial
		v1alpha1.VerdictApprove: `approve by "bob" does not count: "bob" is not among the approvers of policy p` + see,
		v1alpha1.VerdictDeny:    `deny by "bob" does not count: "bob" is neither an approver nor a revoker of policy p` + see,
	} {
		s := &deaf{policy: builders.Policy("p").ApprovedBy(builders.User("carol")).Build()}
		s.policy.TypeMeta = kindOf("AccessPolicy")
		p := against(t, s.ServeHTTP)
		p.Out, p.ErrOut = &bytes.Buffer{}, &bytes.Buffer{}
		c, err := p.connect()
		if err != nil {
			t.Fatal(err)
		}
		before := waitingRequest()
		before.ResourceVersion = "1"
		err = p.decide(t.Context(), c, before, &v1alpha1.Identity{Username: "bob"}, verdict, "", newOutput("created"))
		var ended *exitError
		if !errors.As(err, &ended) || ended.code != exitFailed || ended.message != want {
			t.Errorf("%s: %v, want %s", verdict, err, want)
		}
	}
}

func TestWhyTellsAnApprovalThatIsNotLookedAtYetFromOneThatDoesNotCount(t *testing.T) {
	for state, want := range map[v1alpha1.RequestState]string{ //nolint:exhaustive // before it is granted, and after
		v1alpha1.StatePending: " Approve by bob (not counted yet)",
		v1alpha1.StateActive:  " Approve by bob (did not count: access was given without it)",
	} {
		p := builders.Policy("p").ApprovedBy(builders.User("bob")).Build()
		p.UID, p.Generation = "u", 1
		req := builders.Request("debug").In("payments").By("alice").Build()
		req.UID, req.CreationTimestamp = "r", minutes(-5)
		req.Status.State, req.Status.Policy = state, &v1alpha1.PolicyReference{Name: "p", UID: "u", Generation: 1}
		d := builders.Decision("d", req, v1alpha1.VerdictApprove)
		d.CreationTimestamp, d.Spec.Reviewer = minutes(-1), &v1alpha1.Identity{Username: "bob"}
		s := &story{now: noon, req: req, policy: p, decisions: []v1alpha1.AccessDecision{*d}}
		if got := s.decided(); len(got) != 1 || !strings.HasSuffix(got[0], want) {
			t.Errorf("%s: %q, want %q", state, got, want)
		}
	}
}
