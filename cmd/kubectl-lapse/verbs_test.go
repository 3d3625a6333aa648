// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// runsAt runs the plugin, as a person types it in namespace payments, against an API server.
func runsAt(t *testing.T, server http.HandlerFunc, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	at := against(t, server).config.overrides.ClusterInfo.Server
	var out, said bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &said}
	code = run(t.Context(), slices.Concat(args, []string{"--server", at, "-n", "payments"}), streams)
	return code, out.String(), said.String()
}

func TestSeveralRequestsAreDecidedAndReturnedAlsoByTheirKind(t *testing.T) {
	d := newDesk(t, "bob")
	d.pending("first", "alice")
	d.pending("second", "alice")
	code, stdout, stderr := runsAt(t, d.ServeHTTP, "approve", "areq/first", "accessrequest.lapse.dev/second", "--reason", "go ahead")
	d.mustHaveSaid("Approve first uid-0 go ahead", "Approve second uid-1 go ahead")
	if code != exitOK || strings.Count(stdout, " created\n") != 2 {
		t.Errorf("approve: exit code %d, %q %q", code, stdout, stderr)
	}
	d.me.Username = "alice"
	code, stdout, stderr = runsAt(t, d.ServeHTTP, "get", "accessrequest.lapse.dev/first", "areq/second", "-o", "name")
	if code != exitOK || stdout != "accessrequest.lapse.dev/first\naccessrequest.lapse.dev/second\n" {
		t.Errorf("get: exit code %d, %q %q", code, stdout, stderr)
	}
	code, stdout, stderr = runsAt(t, d.ServeHTTP, "return", "accessrequests/second", "first")
	d.mustHaveSaid("Approve first uid-0 go ahead", "Approve second uid-1 go ahead", "Revoke second uid-1 ", "Revoke first uid-0 ")
	if code != exitOK {
		t.Errorf("return: exit code %d, %q %q", code, stdout, stderr)
	}
}

func TestReturnNeverWaitsForHowItsCommentIsSpelt(t *testing.T) {
	d := newDesk(t, "alice")
	d.pending("mine", "alice")
	code, _, stderr := runsAt(t, d.ServeHTTP, "return", "mine", "--comment", "done\u202e")
	d.mustHaveSaid("Revoke mine uid-0 done")
	if code != exitOK || !strings.HasPrefix(stderr, "note: left out of what you wrote, since it cannot be seen or breaks the line: U+202E\n") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}

func TestADryRunOnTheServerEndsAsTheRequestWould(t *testing.T) {
	for name, tc := range map[string]struct {
		flags []string
		code  int
		says  string
	}{
		"with approval": {nil, exitOK, "policy leads allows this for 1h once 1 person has approved\n"},
		"by a policy":   {[]string{"--for", "8h"}, exitRefused, "policy leads: duration 8h is longer than its maxDuration 4h"},
		"too early":     {[]string{"--not-before", "800h"}, exitRefused, "is more than 30 days after the request was made; create one nearer"},
	} {
		d := newDesk(t, "alice")
		ask := []string{"request", "edit", "--reason", "INC-1", "--dry-run=server", "--for", "1h"}
		code, stdout, stderr := runsAt(t, d.ServeHTTP, slices.Concat(ask, tc.flags)...)
		if mustSay(t, stderr, tc.says); code != tc.code || len(d.requests) > 0 {
			t.Errorf("%s: exit code %d, want %d: %q", name, code, tc.code, stdout)
		}
		mustSay(t, stdout, "created (server dry run)\n")
	}
}

func TestWhatIsRefusedWhateverTheRoleIsIsNotListed(t *testing.T) {
	d := newDesk(t, "alice")
	ahead := func(after time.Duration) string { return time.Now().UTC().Add(after).Format(time.RFC3339) }
	for _, tc := range []struct {
		flags []string
		says  string
	}{
		{[]string{"--for", "1h", "--not-before", "700h"}, ""},
		{[]string{"--for", "5s"}, "no: the API server would refuse it: spec.duration: Invalid value: \"5s\": duration must be between 10s"},
		{[]string{"--not-before", "721h"}, " is more than 30 days after the request was made"},
		{[]string{"--not-after", ahead(745 * time.Hour)}, ", which is 30 days and the longest access (24h) after the request was made"},
		{[]string{"--as-subject", "user:bob"}, "notAfter is required when the subject is not the requester"},
		{[]string{"--reason", "a\u202e"}, "character 2 is U+202E"},
	} {
		want := exitRefused
		if tc.says == "" {
			want = exitOK
		}
		code, stdout, stderr := runsAt(t, d.ServeHTTP, append([]string{"can"}, tc.flags...)...)
		if mustSay(t, stderr, tc.says); code != want || (code == exitOK) != strings.HasPrefix(stdout, "ROLE ") {
			t.Errorf("%q: exit code %d, %q %q", tc.flags, code, stdout, stderr)
		}
	}
}

func TestCanSaysThatNoReasonWasGivenWhereOneIsLookedAt(t *testing.T) {
	d := newDesk(t, "alice")
	d.policies[0].Spec.Conditions = []v1alpha1.PolicyCondition{
		{Expression: "request.spec.reason.startsWith('INC-')", Message: "the reason must begin with INC-"},
	}
	const note = "note: no --reason was given; policy leads has conditions on the reason\n"
	for reason, want := range map[string]string{"": note, "because": "", "INC-1": ""} {
		code, stdout, stderr := runsAt(t, d.ServeHTTP, "can", "edit", "--reason", reason)
		if (code == exitOK) != (reason == "INC-1") || stderr != want {
			t.Errorf("reason %q: exit code %d, %q %q", reason, code, stdout, stderr)
		}
	}
}

func TestARoleThatTheOperatorMayNotBindIsForetold(t *testing.T) {
	const no = "the operator may not bind ClusterRole edit; a cluster admin allows it with: kubectl create clusterrole lapse-bindable-edit "
	ask := []string{"request", "edit", "--for", "1h", "--reason", "INC-1", "--dry-run=server"}
	d := newDesk(t, "alice")
	d.unbound = "edit"
	if code, stdout, _ := runsAt(t, d.ServeHTTP, "can", "edit"); code != exitRefused || !strings.HasPrefix(stdout, "no: "+no) {
		t.Errorf("can: exit code %d, %q", code, stdout)
	}
	if code, _, stderr := runsAt(t, d.ServeHTTP, ask...); code != exitRefused || !strings.HasPrefix(stderr, no) {
		t.Errorf("request: exit code %d, %q", code, stderr)
	}
	d.unbound = ""
	if code, stdout, stderr := runsAt(t, d.ServeHTTP, "can", "edit"); code != exitOK || stderr != "" {
		t.Errorf("what it may bind: exit code %d, %q %q", code, stdout, stderr)
	}
}

func TestWhatOfTheOperatorsRightsIsNotKnownIsNotedOnce(t *testing.T) {
	const note = "note: you may not ask what the operator may bind, so it was taken to be allowed to bind ClusterRole edit\n"
	const both = "note: you may not read ClusterRole edit, so it was taken to exist and to be harmless, " +
		"and the operator to be allowed to bind it\n"
	for _, tc := range []struct {
		mayNot []string
		asked  string
		code   int
		says   string
	}{
		{[]string{"subjectaccessreviews"}, "1h", exitOK, note},
		{[]string{"subjectaccessreviews", "clusterroles"}, "1h", exitOK, both},
		{[]string{"subjectaccessreviews", "clusterroles"}, "8h", exitRefused, ""}, // it does not rest on them
	} {
		d := newDesk(t, "alice")
		d.refuse(tc.mayNot...)
		if code, stdout, stderr := runsAt(t, d.ServeHTTP, "can", "edit", "--for", tc.asked); code != tc.code || stderr != tc.says {
			t.Errorf("for %s, without %q: exit code %d, %q %q", tc.asked, tc.mayNot, code, stdout, stderr)
		}
	}
}

func TestLintSaysHowAFileIsNamed(t *testing.T) {
	code, _, stderr := runsAt(t, http.NotFound, "policy", "lint", "list.yaml")
	if mustSay(t, stderr, "files are named with -f: kubectl lapse policy lint -f list.yaml"); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
}
