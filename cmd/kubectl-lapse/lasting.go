// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/text"
)

// lasting is an object of the files that could outlast a grant.
type lasting struct{ kind, namespace, name, file string }

// lastingKinds are those that lapse-persistence may refuse to holders; docs/adr/0006 lists them.
var lastingKinds = []schema.GroupKind{
	{Group: rbacv1.GroupName, Kind: v1alpha1.RoleKind},
	{Group: rbacv1.GroupName, Kind: "RoleBinding"},
	{Group: "certificates.k8s.io", Kind: "PodCertificateRequest"},
	{Kind: v1alpha1.ServiceAccountKind},
	{Kind: "Secret"},
}

// addLasting notes what may outlast a grant, and reads nothing else.
func (m *manifests) addLasting(at place, kind metav1.TypeMeta, document []byte) error {
	if !slices.Contains(lastingKinds, kind.GroupVersionKind().GroupKind()) {
		return nil
	}
	var o struct {
		Metadata struct{ Name, Namespace string } `json:"metadata"`
		Type     any                              `json:"type"`
	}
	err := yaml.Unmarshal(document, &o)
	if err == nil && (kind.Kind != "Secret" || o.Type == string(corev1.SecretTypeServiceAccountToken)) {
		m.lasting = append(m.lasting, lasting{kind.Kind, o.Metadata.Namespace, o.Metadata.Name, at.file})
	}
	return err
}

// onCondition is which new ServiceAccounts pass under whileHeld: NoNewPower: their names, the label.
const onCondition = "ServiceAccounts (%s) pass only if no RoleBinding there and no ClusterRoleBinding names them already and, " +
	"where the API server does not stamp it (below Kubernetes 1.36), they have the label %s: \"true\"\n"

// sayRefused says what of some files the holder of a grant may not make, as far as the files
// tell: what is there already, and is not changed, may be applied again.
func sayRefused(out io.Writer, in io.Reader, files []string, namespace string, d policy.Decision) (some bool, err error) {
	m, err := readManifests(in, files)
	if err != nil {
		return false, err
	}
	var lines, accounts []string
	hint, nothing := "", "nothing"
	for _, l := range m.lasting {
		if l.namespace != "" && l.namespace != namespace {
			continue
		}
		if l.kind == v1alpha1.ServiceAccountKind {
			if d.WhileHeld == v1alpha1.WhileHeldNoNewPower {
				accounts = append(accounts, text.Line(l.name))
				continue
			}
			hint = fmt.Sprintf("; with whileHeld: NoNewPower, policy %s would let the holder make ServiceAccounts", d.Policy.Name)
		}
		lines = append(lines, fmt.Sprintf("  %s %s (%s)", l.kind, text.Line(l.name), text.Line(l.file)))
	}
	if len(accounts) > 0 {
		fmt.Fprintf(out, onCondition, strings.Join(accounts, ", "), v1alpha1.NoNewPowerLabel)
		nothing = "nothing else"
	}
	if len(lines) == 0 {
		fmt.Fprintln(out, nothing+" in the files is refused to the holder")
		return false, nil
	}
	fmt.Fprintf(out, "refused to the holder while it lasts, unless it is there already and stays as it is:\n%s\nsomebody who holds no grant there can make it%s\n",
		strings.Join(lines, "\n"), hint)
	return true, nil
}
