// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"

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
