// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// reviews is an API server that knows two tokens, of which one may get /metrics. It says of
// the others what kube-apiserver says.
type reviews struct {
	client.Writer
	asked int
	err   error
}

func (r *reviews) Create(_ context.Context, obj client.Object, _ ...client.CreateOption) error {
	switch review := obj.(type) {
	case *authenticationv1.TokenReview:
		r.asked++
		if review.Spec.Token != "prometheus" && review.Spec.Token != "eve" {
			review.Status.Error = "[invalid bearer token, square/go-jose: error in cryptographic primitive]"
			return r.err
		}
		review.Status.Authenticated, review.Status.User.Username = true, review.Spec.Token
	case *authorizationv1.SubjectAccessReview:
		may := review.Spec.NonResourceAttributes
		review.Status.Allowed = review.Spec.User == "prometheus" && may.Path == "/metrics" && may.Verb == "get"
	}
	return r.err
}

// scrape asks from a host, with a header.
func scrape(handler http.Handler, host, header string) *http.Response {
	req := httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody)
	req.RemoteAddr = host + ":40000"
	if header != "" {
		req.Header.Set("Authorization", header)
	}
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, req)
	return answer.Result()
}

func TestOnlyWhoMayReadsMetrics(t *testing.T) {
	for name, tc := range map[string]struct {
		header string
		err    error
		want   int
	}{
		"who may":                             {header: "Bearer prometheus", want: http.StatusOK},
		"who may, in small letters":           {header: "bearer prometheus", want: http.StatusOK},
		"who may, in capitals, with spaces":   {header: " BEARER  prometheus ", want: http.StatusOK},
		"somebody else":                       {header: "Bearer eve", want: http.StatusForbidden},
		"a token that nobody knows":           {header: "Bearer false", want: http.StatusUnauthorized},
		"no token":                            {header: "Bearer ", want: http.StatusUnauthorized},
		"no token, and no space":              {header: "Bearer", want: http.StatusUnauthorized},
		"a token alone":                       {header: "prometheus", want: http.StatusUnauthorized},
		"another scheme that begins so":       {header: "Bearers prometheus", want: http.StatusUnauthorized},
		"a password":                          {header: "Basic cHJvbWV0aGV1cw==", want: http.StatusUnauthorized},
		"nobody":                              {want: http.StatusUnauthorized},
		"who may, but the API server is away": {header: "Bearer prometheus", err: errors.New("away"), want: http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			answer := scrape(Reviewed(ok, &reviews{err: tc.err}), "10.0.0.1", tc.header)
			if answer.StatusCode != tc.want {
				t.Errorf("%s, want %d", answer.Status, tc.want)
			}
			if says := answer.Header.Get("WWW-Authenticate") == "Bearer"; says != (tc.want == http.StatusUnauthorized) {
				t.Errorf("%s says that it wants a token: %v", answer.Status, says)
			}
		})
	}
}

// flood sends false tokens, each another one, and returns how many were not looked at.
func flood(handler http.Handler, n int, host func(i int) string) (refused int) {
	for i := range n {
		if scrape(handler, host(i), fmt.Sprint("Bearer false-", i)).StatusCode == http.StatusTooManyRequests {
			refused++
		}
	}
	return refused
}

func one(int) string { return "10.0.0.66" }

func TestTheAPIServerHearsLittleOfFalseTokens(t *testing.T) {
	for name, host := range map[string]func(int) string{
		"of one host":   one,
		"of many hosts": func(i int) string { return fmt.Sprintf("10.0.1.%d", i) },
	} {
		t.Run(name, func(t *testing.T) {
			r := &reviews{}
			if refused := flood(Reviewed(ok, r), 200, host); r.asked > 3*turnsAtOnce || r.asked+refused != 200 {
				t.Errorf("asked about %d tokens; %d were refused", r.asked, refused)
			}
		})
	}
}

func TestAScraperGetsThroughWhileAStrangerFloods(t *testing.T) {
	handler := Reviewed(ok, &reviews{})
	if refused := flood(handler, 1000, one); refused < 900 {
		t.Fatalf("only %d were refused", refused)
	}
	for i := range 5 {
		flood(handler, 100, one)
		if answer := scrape(handler, "10.0.0.1", "Bearer prometheus"); answer.StatusCode != http.StatusOK {
			t.Errorf("scrape %d, with a token that was not seen before or is known: %s", i, answer.Status)
		}
	}
}

func TestATokenThatPassedTakesNoTurn(t *testing.T) {
	r := &reviews{}
	handler := Reviewed(ok, r)
	for i := range 10 * turnsAtOnce {
		if answer := scrape(handler, one(i), "Bearer prometheus"); answer.StatusCode != http.StatusOK {
			t.Fatalf("scrape %d: %s", i, answer.Status)
		}
	}
	if r.asked != 10*turnsAtOnce {
		t.Errorf("asked %d times: who may no more must be refused at once", r.asked)
	}
}
