// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"io"
	"net/http"
	"path"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// unstamping is an API server that stamps nothing. It knows alice, and keeps what she sends.
func unstamping(t *testing.T, sent map[string]string) http.HandlerFunc {
	t.Helper()
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		resource := path.Base(r.URL.Path)
		if resource == "selfsubjectreviews" {
			_ = json.NewEncoder(w).Encode(authenticationv1.SelfSubjectReview{
				TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "SelfSubjectReview"},
				Status: authenticationv1.SelfSubjectReviewStatus{UserInfo: authenticationv1.UserInfo{
					Username: "alice", Groups: []string{"oncall"}, Extra: map[string]authenticationv1.ExtraValue{"example.com/tier": {"gold"}},
				}},
			})
			return
		}
		if strings.Contains(string(body), `"username":"alice"`) {
			sent[resource] = string(body)
			_, _ = w.Write(body)
			return
		}
		who := map[string]string{requestResource: "requester", decisionResource: "reviewer"}[resource]
		missing := apierrors.NewInvalid(schema.GroupKind{Group: v1alpha1.GroupVersion.Group, Kind: resource}, "x",
			field.ErrorList{field.Required(field.NewPath("spec", who), who+" is missing")})
		missing.ErrStatus.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
		w.WriteHeader(http.StatusUnprocessableEntity)
		_ = json.NewEncoder(w).Encode(missing.ErrStatus)
	}
}

func TestWhoAsksGivesHisExtraAndWhoDecidesDoesNot(t *testing.T) {
	sent := map[string]string{}
	c, err := against(t, unstamping(t, sent)).connect()
	if err != nil {
		t.Fatal(err)
	}
	asked := waitingRequest()
	asked.Spec.Requester = nil
	if err := ask(t.Context(), c, asked); err != nil {
		t.Fatal(err)
	}
	me, err := c.whoami(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	said := &v1alpha1.AccessDecision{
		ObjectMeta: metav1.ObjectMeta{Namespace: asked.Namespace, Name: "no"}, Spec: v1alpha1.AccessDecisionSpec{Verdict: v1alpha1.VerdictDeny},
	}
	if err := store(t.Context(), c, said, me); err != nil {
		t.Fatal(err)
	}
	if got := sent[requestResource]; !strings.Contains(got, `"extra":{"example.com/tier":["gold"]}`) {
		t.Errorf("the request has no extra: %s", got)
	}
	if got := sent[decisionResource]; got == "" || strings.Contains(got, "extra") {
		t.Errorf("the decision has extra: %s", got)
	}
}
