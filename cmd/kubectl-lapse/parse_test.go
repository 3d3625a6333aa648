// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/text"
)

func TestParseRole(t *testing.T) {
	for in, want := range map[string]v1alpha1.RoleRef{
		"edit":             {Kind: v1alpha1.ClusterRoleKind, Name: "edit"},
		"clusterrole/edit": {Kind: v1alpha1.ClusterRoleKind, Name: "edit"},
		"role/x":           {Kind: v1alpha1.RoleKind, Name: "x"},
		"Role/x":           {Kind: v1alpha1.RoleKind, Name: "x"},
		"system:x":         {Kind: v1alpha1.ClusterRoleKind, Name: "system:x"},
	} {
		if got, err := parseRole(in); err != nil || got != want {
			t.Errorf("parseRole(%q) = %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "role/", "pod/x", "/"} {
		if got, err := parseRole(in); err == nil {
			t.Errorf("parseRole(%q) = %v, and no error", in, got)
		}
	}
}

func TestParseSubject(t *testing.T) {
	for in, want := range map[string]v1alpha1.Subject{
		"user:alice":           {Kind: v1alpha1.UserKind, Name: "alice"},
		"user:oidc:alice@x":    {Kind: v1alpha1.UserKind, Name: "oidc:alice@x"},
		"group:oncall":         {Kind: v1alpha1.GroupKind, Name: "oncall"},
		"sa:payments/migrator": {Kind: v1alpha1.ServiceAccountKind, Namespace: "payments", Name: "migrator"},
	} {
		if got, err := parseSubject(in); err != nil || *got != want {
			t.Errorf("parseSubject(%q) = %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"alice", "user:", "sa:payments", "robot:x"} {
		if got, err := parseSubject(in); err == nil {
			t.Errorf("parseSubject(%q) = %v, and no error", in, got)
		}
	}
	if got, err := parseSubject(""); got != nil || err != nil {
		t.Errorf("nobody is %v, %v", got, err)
	}
}

func TestParseMoment(t *testing.T) {
	for in, want := range map[string]string{
		"2026-12-01T18:00:00Z":      "2026-12-01T18:00:00Z",
		"2026-12-01T20:00:00+02:00": "2026-12-01T18:00:00Z",
		"2h":                        "2026-12-01T14:00:00Z",
	} {
		if got, err := parseMoment("--not-after", in, noon); err != nil || text.Time(got.Time) != want {
			t.Errorf("parseMoment(%q) = %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"tomorrow", "-2h", "18:00", "2026-12-01", "2026-12-01T18:00:00.5Z"} {
		if got, err := parseMoment("--not-after", in, noon); err == nil {
			t.Errorf("parseMoment(%q) = %v, and no error", in, got)
		}
	}
}

func TestADurationThatCannotBeReadIsRefusedWithTheFormItTakes(t *testing.T) {
	for _, given := range []string{"1d", "90", "8hrs", "1 h", "an hour", ""} {
		for _, flags := range [][]string{{"request", "edit", "--reason", "x", "--for"}, {"can", "edit", "--for"}, {"drain", "--timeout"}} {
			flag := flags[len(flags)-1]
			code, _, said := offline(t, "", append(slices.Clone(flags), given)...)
			want := fmt.Sprintf("error: invalid argument %q for %q flag: write 24h, 90m or 1h30m; see kubectl lapse %s --help\n",
				given, flag, flags[0])
			if code != exitFailed || said != want {
				t.Errorf("exit code %d, %q, want %q", code, said, want)
			}
		}
	}
	for given, want := range map[string]time.Duration{"24h": 24 * time.Hour, "90m": 90 * time.Minute, "1h30m": 90 * time.Minute, "0": 0} {
		var got time.Duration
		if err := (*durationFlag)(&got).Set(given); err != nil || got != want {
			t.Errorf("%s is %s, %v", given, got, err)
		}
	}
}

func TestParseTimeTakesATimeOrADate(t *testing.T) {
	for in, want := range map[string]string{
		"2026-12-01T20:00:00+02:00": "2026-12-01T18:00:00Z", "2026-12-01": "2026-12-01T00:00:00Z", "": "0001-01-01T00:00:00Z",
	} {
		if got, err := parseTime("--since", in); err != nil || text.Time(got) != want {
			t.Errorf("parseTime(%q) = %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"tomorrow", "2h", "18:00", "2026-13-01", " "} {
		if got, err := parseTime("--since", in); err == nil {
			t.Errorf("parseTime(%q) = %v, and no error", in, got)
		}
	}
}

func TestGenerateNameMakesANameOfAnyRole(t *testing.T) {
	for in, want := range map[string]string{
		"edit": "edit-", "system:node-proxier": "system-node-proxier-", "Ünder": "nder-", "日本": "access-", "a..b": "a-b-",
	} {
		if got := generateName(in); got != want {
			t.Errorf("generateName(%q) = %q, want %q", in, got, want)
		}
	}
	if got := generateName(strings.Repeat("a-", 200)) + "abcde"; len(validation.IsDNS1123Subdomain(got)) > 0 || len(got) > 63 {
		t.Errorf("%q is no name", got)
	}
}

func TestARequestMayBeNamedWithItsKind(t *testing.T) {
	for in, want := range map[string]string{
		"edit-x7k2p":                          "edit-x7k2p",
		"accessrequest.lapse.dev/edit-x7k2p":  "edit-x7k2p", // as kubectl get -o name prints it
		"areq/edit-x7k2p":                     "edit-x7k2p",
		"AccessRequests/edit-x7k2p":           "edit-x7k2p",
		"pod/edit-x7k2p":                      "pod/edit-x7k2p", // which there is not
		"accessdecision.lapse.dev/edit-x7k2p": "accessdecision.lapse.dev/edit-x7k2p",
	} {
		if got := requestName(in); got != want {
			t.Errorf("requestName(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestEachRequestIsTriedAlthoughOneFails(t *testing.T) {
	var said strings.Builder
	p := newPlugin(genericiooptions.IOStreams{ErrOut: &said})
	var tried []string
	err := p.eachOf(t.Context(), []string{"a", "areq/b", "c"}, func(name string) error {
		tried = append(tried, name)
		if name == "b" {
			return errors.New("it is over already")
		}
		return nil
	})
	if got := strings.Join(tried, " "); got != "a b c" {
		t.Errorf("tried %s, want a b c", got)
	}
	if err == nil || err.Error() != "1 of 3 failed" || said.String() != "error: b: it is over already\n" {
		t.Errorf("err %v, said %q", err, said.String())
	}
}

func TestWhatOtherToolsCallAVerbIsUnderstood(t *testing.T) {
	root := newPlugin(genericiooptions.NewTestIOStreamsDiscard()).rootCommand()
	for verb, others := range otherNames {
		for _, other := range others {
			if got := root.SuggestionsFor(other); !slices.Contains(got, verb) {
				t.Errorf("%s: %v, want %s", other, got, verb)
			}
			if found, _, err := root.Find([]string{other}); err == nil && found != root {
				t.Errorf("%s is a verb itself", other)
			}
		}
	}
	for other, verb := range map[string]string{"list": "get", "cancel": "return", "history": "why"} {
		code, _, said := offline(t, "", other)
		if want := "did you mean kubectl lapse " + verb + "?"; code != exitFailed || !strings.Contains(said, want) {
			t.Errorf("%s: exit code %d, %q, want %q", other, code, said, want)
		}
	}
	for verb, flag := range map[string]string{"approve": "reason", "deny": "reason", "revoke": "comment", "return": "reason"} {
		cmd, _, err := root.Find([]string{verb})
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Flags().Parse([]string{"--" + flag, "why"}); err != nil {
			t.Errorf("%s --%s: %v", verb, flag, err)
		}
	}
}
