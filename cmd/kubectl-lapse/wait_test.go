// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

func TestOnlyAccessThatIsHeldIsASuccess(t *testing.T) {
	for name, tc := range map[string]struct {
		req  v1alpha1.AccessRequest
		code int
		says string
	}{
		"it is held":    {held(example("r", v1alpha1.StateActive, v1alpha1.ReasonGranted, ""), 42), exitOK, ""},
		"it was denied": {example("r", v1alpha1.StateDenied, v1alpha1.ReasonDenied, "nobody allows it"), exitRefused, "nobody allows it"},
		"it is over":    {held(example("r", v1alpha1.StateExpired, v1alpha1.ReasonExpired, "it ended"), -1), exitRefused, "it ended"},
		"somebody has to approve": {
			example("r", v1alpha1.StatePending, v1alpha1.ReasonPendingApproval, "waits for 1 of bob"), exitUnknown,
			"r waits for 1 of bob\nthey approve with: kubectl lapse approve r -n payments",
		},
		"it begins later": {example("r", v1alpha1.StateScheduled, v1alpha1.ReasonScheduled, "it begins"), exitUnknown, "it begins"},
		"the operator may not bind the role": {
			example("r", v1alpha1.StateFailed, v1alpha1.ReasonBindForbidden, "it may not bind"), exitUnknown, "it may not bind",
		},
		"nothing is said of it": {example("r", "", "", ""), exitUnknown, "r: "},
	} {
		p := newPlugin(genericiooptions.NewTestIOStreamsDiscard())
		err := p.verdict(&tc.req)
		if code := codeOf(err); code != tc.code || err != nil && !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: exit code %d, want %d: %v", name, code, tc.code, err)
		}
	}
}

func TestARequestThatTheOperatorDoesNotSeeIsNoSuccess(t *testing.T) {
	d := newDesk(t, "alice")
	req := builders.Request("unseen").In("payments").By("alice").To(builders.User("alice")).ForClusterRole("edit").Build()
	req.UID, req.CreationTimestamp = "u", metav1.Now()
	d.requests = append(d.requests, req)
	var said bytes.Buffer
	p := against(t, d.ServeHTTP)
	p.ErrOut = &said
	c, err := p.connect()
	if err != nil {
		t.Fatal(err)
	}
	if code := codeOf(p.firstWord(t.Context(), c, req)); code != exitUnknown {
		t.Errorf("exit code %d, want %d", code, exitUnknown)
	}
	mustSay(t, said.String(), "the operator has not looked at unseen yet", "policy leads allows this for 1m once 1 person has approved")
}

func TestAWaitThatTimesOutShowsYAMLOnce(t *testing.T) {
	d := newDesk(t, "alice")
	req := example("slow", v1alpha1.StateFailed, v1alpha1.ReasonBindForbidden, "it may not bind. An admin allows it with:\nkind: ClusterRole")
	d.requests = append(d.requests, &req)
	var said bytes.Buffer
	p := against(t, d.ServeHTTP)
	p.ErrOut = &said
	c, err := p.connect()
	if err != nil {
		t.Fatal(err)
	}
	err = p.await(t.Context(), c, &req, time.Second)
	if code := codeOf(err); code != exitUnknown {
		t.Fatalf("exit code %d, want %d: %v", code, exitUnknown, err)
	}
	mustSay(t, said.String(), "slow Failed (BindForbidden): it may not bind. An admin allows it with:\nkind: ClusterRole\n")
	const end = "not decided within 1s: Failed (BindForbidden): it may not bind. An admin allows it with: (see above)\nslow stays as it is; "
	if !strings.HasPrefix(err.Error(), end) {
		t.Errorf("at last it is said: %s", err)
	}
}
