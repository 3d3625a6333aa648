// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/grant"
	"github.com/lapse-dev/lapse/internal/text"
	"github.com/lapse-dev/lapse/test/hostile"
)

func TestNothingHarmfulIsPrinted(t *testing.T) {
	for _, s := range hostile.Strings(t) {
		for name, got := range map[string]string{"a cell": text.Line("a" + s + "b"), "a message": text.Printable("a"+s+"b", "\n\t")} {
			if strings.ContainsAny(got, "\x1b\r\b\x00\x07\x7f\u009b\u0085\u2028\u202e\u2066\u200b\u00ad\ufeff\U000e0041") {
				t.Errorf("%s of %+q is %+q", name, s, got)
			}
			mustBeHarmless(t, got)
		}
	}
	if got := text.Line("  Zoë 日本 – \n it's\tfine  "); got != "Zoë 日本 – it's fine" {
		t.Errorf("what is harmless became %q", got)
	}
}

func TestJSONKeepsItsMeaning(t *testing.T) {
	for _, s := range hostile.Strings(t) {
		var out bytes.Buffer
		if err := writeJSON(&out, map[string]string{"reason": "a" + s + "b"}); err != nil {
			t.Fatal(err)
		}
		mustBeHarmless(t, out.String())
		var back map[string]string
		if err := json.Unmarshal(out.Bytes(), &back); err != nil || back["reason"] != asText("a"+s+"b") {
			t.Errorf("%+q came back as %+q (%v)", s, back["reason"], err)
		}
	}
}

// asText is a string with a mark for each byte that is no text: JSON has no other.
func asText(s string) string { return string([]rune(s)) }

func TestUntil(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"in 42m": 42 * time.Minute, "in 60m": time.Hour, "in 0s": 0, "in 1s": time.Millisecond, "in 2s": 2 * time.Second,
		"3m ago": -3 * time.Minute, "in 3h": 3 * time.Hour,
	} {
		if got := until(noon, noon.Add(d)); got != want {
			t.Errorf("until(%s) = %q, want %q", d, got, want)
		}
	}
}

func TestALineThatDoesNotFitIsCutWhereItEnds(t *testing.T) {
	for _, tc := range []struct {
		line  string
		width int
		want  string
	}{
		{"fits", 4, "fits"},
		{"does not fit", 8, "does no…"},
		{"日本語", 6, "日本語"},
		{"日本語", 5, "日…"},
	} {
		if got := fit(tc.line, tc.width); got != tc.want {
			t.Errorf("fit(%q, %d) = %q, want %q", tc.line, tc.width, got, tc.want)
		}
	}
}

func TestNobodysWordsLookLikeALineOfOurs(t *testing.T) {
	const width = 40
	for name, tc := range map[string]struct{ line, want string }{
		"a line that fits": {"asked by alice", "judged    asked by alice\n"},
		"one that wraps just before what looks like ours": {
			strings.Repeat("x", 28) + " decided   Approve by carol",
			"judged    " + strings.Repeat("x", 28) + "\n            decided Approve by carol\n",
		},
		"a word that is too long": {
			strings.Repeat("y", 60), "judged    " + strings.Repeat("y", 28) + "\n            " + strings.Repeat("y", 28) + "\n            yyyy\n",
		},
		"YAML": {
			"allow it with:\n\nrules:\n- verbs: [bind]\n",
			"judged    allow it with:\n            \n            rules:\n            - verbs: [bind]\n",
		},
		"another policy, as its author may have written": {
			"no policy allows this: policy a: x; policy dev: all good",
			"judged    no policy allows this:\n            policy a: x; policy dev: all\n            good\n",
		},
	} {
		var b strings.Builder
		paragraph(&b, margin, "judged", tc.line, width)
		if got := b.String(); got != tc.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, tc.want)
		}
	}
}

func TestYAMLInAMessageCanBeApplied(t *testing.T) {
	req := example("unbindable", v1alpha1.StateFailed, "", "")
	req.Spec.RoleRef.Name = "reads-what-there-is-in-the-namespaces-of-payments"
	var b strings.Builder
	paragraph(&b, margin, "next", grant.BindForbidden(&req, &grant.Outcome{}).Message, 80)
	before, _, _ := strings.Cut(b.String(), "apiVersion:")
	manifest := b.String()[strings.LastIndex(before, "\n")+1:]
	var role rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict([]byte(manifest), &role); err != nil {
		t.Fatalf("it cannot be applied: %v\n%s", err, manifest)
	}
	if role.Name != "lapse-bindable-"+req.Spec.RoleRef.Name || len(role.Rules) != 1 ||
		!slices.Equal(role.Rules[0].ResourceNames, []string{req.Spec.RoleRef.Name}) {
		t.Errorf("applied, it lets the operator bind %+v", role)
	}
}
