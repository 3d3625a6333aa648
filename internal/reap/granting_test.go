// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package reap

import (
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
)

func TestAnAuthorizerThatCannotTellHasNotSaidNo(t *testing.T) {
	const problem = "webhook: connection refused"
	for name, tc := range map[string]struct {
		status authorizationv1.SubjectAccessReviewStatus
		may    bool
		fails  bool
	}{
		"allowed":                             {authorizationv1.SubjectAccessReviewStatus{Allowed: true}, true, false},
		"allowed, and another could not tell": {authorizationv1.SubjectAccessReviewStatus{Allowed: true, EvaluationError: problem}, true, false},
		"nobody allows it":                    {authorizationv1.SubjectAccessReviewStatus{}, false, false},
		"denied, and another could not tell":  {authorizationv1.SubjectAccessReviewStatus{Denied: true, EvaluationError: problem}, false, false},
		"could not tell":                      {authorizationv1.SubjectAccessReviewStatus{EvaluationError: problem}, false, true},
	} {
		review := OperatorMay(Granting())
		review.Status = tc.status
		may, err := Allowed(review)
		if may != tc.may || (err != nil) != tc.fails || err != nil && !strings.Contains(err.Error(), problem) {
			t.Errorf("%s: %t, %v", name, may, err)
		}
	}
}
