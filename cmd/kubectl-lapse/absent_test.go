// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

func TestNamespacesThatPoliciesNameAndThatDoNotExistAreNoted(t *testing.T) {
	one, two := builders.Policy("one").In("paymnets", "payments", "shpo"), builders.Policy("two").In("payments")
	server := answers{
		"version": map[string]string{"gitVersion": "v1.37.2"},
		"accesspolicies": &v1alpha1.AccessPolicyList{
			TypeMeta: kindOf("AccessPolicyList"), Items: []v1alpha1.AccessPolicy{*one.Build(), *two.Build()},
		},
		"namespaces": &corev1.NamespaceList{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "NamespaceList"}, Items: []corev1.Namespace{*builders.Namespace("payments")},
		},
	}
	const said = "policy one names namespaces that do not exist now, and may be made later: paymnets, shpo\n"
	_, lint, err := server.said(t, "policy", "lint")
	if err != nil || strings.Count(lint, "do not exist now") != 1 {
		t.Errorf("lint: %v, %q", err, lint)
	}
	mustSay(t, lint, "note: "+said)
	doctor, _, _ := server.said(t, "doctor")
	mustSay(t, doctor, "\n-     policies    "+said)

	delete(server, "namespaces")
	if _, lint, err := server.said(t, "policy", "lint"); err != nil || strings.Contains(lint, "do not exist now") {
		t.Errorf("lint, where namespaces may not be listed: %v, %q", err, lint)
	}
}
