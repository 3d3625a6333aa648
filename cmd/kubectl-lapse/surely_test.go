// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/test/builders"
)

func TestWhatIsSurelyRefusedIsForetold(t *testing.T) {
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	latest := now.Add(30*24*time.Hour + 4*time.Hour)
	ask := builders.Request("r").In("payments").ForClusterRole("edit").By("alice").To(builders.User("alice"))
	for name, tc := range map[string]struct {
		request builders.RequestBuilder
		want    string
	}{
		"for oneself":   {builders.Request("r").In("payments").ForClusterRole("edit").By("alice").Lasting(time.Hour), ""},
		"nothing wrong": {ask.Lasting(time.Hour), ""},
		"too short": {
			ask.Lasting(5 * time.Second),
			"the API server would refuse it: spec.duration: Invalid value: \"5s\": duration must be between 10s and 24h",
		},
		"begins in 30 days": {ask.Lasting(time.Hour).NotBefore(now.Add(30 * 24 * time.Hour)), ""},
		"begins in over 30 days": {
			ask.Lasting(time.Hour).NotBefore(now.Add(30*24*time.Hour + time.Second)),
			"notBefore 2026-12-31T12:00:01Z is more than 30 days after the request was made",
		},
		"ends 30 days and the longest access later": {ask.Lasting(time.Hour).NotAfter(latest), ""},
		"ends later than that": {
			ask.Lasting(time.Hour).NotAfter(latest.Add(time.Second)),
			"notAfter 2026-12-31T16:00:01Z is later than 2026-12-31T16:00:00Z, which is 30 days and the longest access (4h)",
		},
		"ends before it begins": {
			ask.Lasting(time.Hour).NotBefore(now.Add(2 * time.Hour)).NotAfter(now.Add(time.Hour)),
			"the API server would refuse it: spec.notAfter: Invalid value: notAfter must be later than notBefore",
		},
		"for another one, for ever": {
			builders.Request("r").In("payments").ForClusterRole("edit").By("alice").To(builders.User("bob")).Lasting(time.Hour),
			"the API server would refuse it: spec.notAfter: Required value: notAfter is required when the subject is not the requester",
		},
		"a reason of two lines": {
			ask.Lasting(time.Hour).Because("a\nb"),
			"the API server would refuse it: spec.reason: Invalid value: character 2 is U+000A,",
		},
	} {
		t.Run(name, func(t *testing.T) {
			req := tc.request.Build()
			req.CreationTimestamp = metav1.NewTime(now)
			d := policy.Decision{Verdict: policy.Allowed, Policy: &v1alpha1.PolicyReference{Name: "p"}}
			d.Duration, d.MaxDuration = time.Hour, 4*time.Hour
			got, err := otherObjection(t.Context(), now, req, d)
			if err != nil {
				t.Fatal(err)
			}
			if got != tc.want && (tc.want == "" || !strings.HasPrefix(got, tc.want)) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestAnEndBeforeTheBeginningIsNotTakenForPast(t *testing.T) {
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	w := &world{
		namespace: builders.Namespace("payments"),
		policies:  []*policy.Compiled{policy.Compile(builders.Policy("p").In("payments").Build())},
		roles:     func(v1alpha1.RoleRef) (policy.Role, bool, error) { return policy.Role{Unread: true}, true, nil },
	}
	ask := builders.Request("r").In("payments").By("alice").NotBefore(now.Add(2 * time.Hour))
	for end, after := range map[string]time.Duration{"2026-12-01T13:00:00Z": time.Hour, "2026-12-01T14:00:00Z": 2 * time.Hour} {
		want := "the API server would refuse it: notAfter " + end + " must be later than notBefore 2026-12-01T14:00:00Z"
		req := ask.NotAfter(now.Add(after)).Build()
		req.CreationTimestamp = metav1.NewTime(now)
		d, got, err := w.outlook(t.Context(), nil, now, req) // nobody is asked
		if err != nil || got != want || d.Verdict != "" {
			t.Errorf("got %q, %v, %v, want %q", got, d.Refusals, err, want)
		}
	}
}
