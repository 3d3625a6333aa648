// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
)

// chart is what charts bring, as manifests and as a list.
const chart = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: app}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: elsewhere, namespace: other}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
---
apiVersion: v1
kind: List
items:
- {apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: app}}
- {apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: app, namespace: payments}}
---
apiVersion: v1
kind: Secret
metadata: {name: token}
type: kubernetes.io/service-account-token
---
apiVersion: v1
kind: Secret
metadata: {name: password}
type: Opaque
---
apiVersion: example.com/v1
kind: ServiceAccount
metadata: {name: of-somebody-else}
`

func TestCanSaysWhatOfManifestsIsRefusedToHolders(t *testing.T) {
	const (
		head = "refused to the holder while it lasts, unless it is there already and stays as it is:\n"
		pass = "ServiceAccounts (app) pass only if no RoleBinding there and no ClusterRoleBinding names them already and, " +
			"where the API server does not stamp it (below Kubernetes 1.36), they have the label lapse.dev/no-new-power: \"true\"\n"
		rest = "  Role app (stdin)\n  RoleBinding app (stdin)\n  Secret token (stdin)\n"
	)
	for what, tc := range map[string]struct {
		whileHeld v1alpha1.WhileHeld
		manifests string
		want      string
	}{
		"strict": {v1alpha1.WhileHeldStrict, chart, head + "  ServiceAccount app (stdin)\n" + rest +
			"somebody who holds no grant there can make it; with whileHeld: NoNewPower, policy p would let the holder make ServiceAccounts\n"},
		"no new power": {v1alpha1.WhileHeldNoNewPower, chart, pass + head + rest +
			"somebody who holds no grant there can make it\n"},
		"nothing but accounts": {
			v1alpha1.WhileHeldNoNewPower, "{apiVersion: v1, kind: ServiceAccount, metadata: {name: app}}",
			pass + "nothing else in the files is refused to the holder\n",
		},
		"nothing": {
			v1alpha1.WhileHeldStrict, "{apiVersion: v1, kind: ConfigMap, metadata: {name: app}}",
			"nothing in the files is refused to the holder\n",
		},
	} {
		t.Run(what, func(t *testing.T) {
			d := policy.Decision{Policy: &v1alpha1.PolicyReference{Name: "p"}, WhileHeld: tc.whileHeld}
			var out strings.Builder
			some, err := sayRefused(&out, strings.NewReader(tc.manifests), []string{"-"}, "payments", d)
			if err != nil {
				t.Fatal(err)
			}
			if out.String() != tc.want || some == strings.HasPrefix(what, "nothing") {
				t.Errorf("got %t and\n%s\nwant\n%s", some, out.String(), tc.want)
			}
		})
	}
}
