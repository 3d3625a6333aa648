// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
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

// addLasting notes what lapse-persistence may refuse to holders; docs/adr/0006 lists it.
func (m *manifests) addLasting(at place, document []byte) error {
	var o struct {
		metav1.TypeMeta `json:",inline"`
		Metadata        metav1.ObjectMeta `json:"metadata"`
		Type            any               `json:"type"`
	}
	if err := yaml.Unmarshal(document, &o); err != nil {
		return err
	}
	var lasts bool
	switch kind := o.GroupVersionKind().GroupKind(); kind {
	case schema.GroupKind{Group: rbacv1.GroupName, Kind: v1alpha1.RoleKind},
		schema.GroupKind{Group: rbacv1.GroupName, Kind: "RoleBinding"},
		schema.GroupKind{Kind: v1alpha1.ServiceAccountKind}:
		lasts = true
	case schema.GroupKind{Kind: "Secret"}:
		lasts = o.Type == string(corev1.SecretTypeServiceAccountToken)
	}
	if lasts {
		m.lasting = append(m.lasting, lasting{o.Kind, o.Metadata.Namespace, o.Metadata.Name, at.file})
	}
	return nil
}

// sayRefused says what of some files the holder of a grant may not make, as far as the files
// tell: what is there already, and is not changed, may be applied again.
func sayRefused(out io.Writer, in io.Reader, files []string, namespace string, d policy.Decision) (some bool, err error) {
	m, err := readManifests(in, files)
	if err != nil {
		return false, err
	}
	var lines []string
	for _, l := range m.lasting {
		switch {
		case l.namespace != "" && l.namespace != namespace:
		case l.kind == v1alpha1.ServiceAccountKind && d.WhileHeld == v1alpha1.WhileHeldNoNewPower:
		default:
			lines = append(lines, fmt.Sprintf("  %s %s (%s)", l.kind, text.Line(l.name), text.Line(l.file)))
		}
	}
	if len(lines) == 0 {
		fmt.Fprintln(out, "nothing in the files is refused to the holder")
		return false, nil
	}
	fmt.Fprintf(out, "refused to the holder while it lasts, unless it is there already and stays as it is:\n%s\nsomebody who holds no grant there can make it%s\n",
		strings.Join(lines, "\n"), leniency(m, d))
	return true, nil
}

// leniency is what the policy could say to let the holder make ServiceAccounts.
func leniency(m *manifests, d policy.Decision) string {
	for _, l := range m.lasting {
		if l.kind == v1alpha1.ServiceAccountKind && d.WhileHeld != v1alpha1.WhileHeldNoNewPower {
			return fmt.Sprintf("; with whileHeld: NoNewPower, policy %s would let the holder make ServiceAccounts", d.Policy.Name)
		}
	}
	return ""
}
