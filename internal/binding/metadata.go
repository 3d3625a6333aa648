// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package binding

import (
	"fmt"
	"maps"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// Metadata is what every RoleBinding gets besides Lapse's own labels and annotations, as
// other rules of a cluster may demand. It is set when a grant is made, and nothing is ever
// read from it: whoever alters it later changes no access.
type Metadata struct {
	labels, annotations map[string]string
}

// NewMetadata reads labels and annotations in the form KEY=VALUE. The error says which one the
// API server would refuse, or is Lapse's own.
func NewMetadata(labels, annotations []string) (Metadata, error) {
	m := Metadata{map[string]string{}, map[string]string{}}
	if err := read(m.labels, labels); err != nil {
		return Metadata{}, fmt.Errorf("--binding-label: %w", err)
	}
	if err := metav1validation.ValidateLabels(m.labels, field.NewPath("--binding-label")).ToAggregate(); err != nil {
		return Metadata{}, err
	}
	if err := read(m.annotations, annotations); err != nil {
		return Metadata{}, fmt.Errorf("--binding-annotation: %w", err)
	}
	if err := validation.ValidateAnnotations(m.annotations, field.NewPath("--binding-annotation")).ToAggregate(); err != nil {
		return Metadata{}, err
	}
	if n := size(m.labels) + size(m.annotations); n > maxMetadata {
		return Metadata{}, fmt.Errorf("--binding-label and --binding-annotation have %d characters, and may have %d together: each grant carries them", n, maxMetadata)
	}
	return m, nil
}

// maxMetadata bounds keys and values together. Each replica has them in memory for each grant.
const maxMetadata = 4096

func size(of map[string]string) (n int) {
	for key, value := range of {
		n += len(key) + len(value)
	}
	return n
}

func read(to map[string]string, pairs []string) error {
	for _, pair := range pairs {
		key, value, found := strings.Cut(pair, "=")
		_, twice := to[key]
		switch {
		case !found:
			return fmt.Errorf("%q has no =; write KEY=VALUE, such as team=platform", pair)
		case twice:
			return fmt.Errorf("%q is given twice; each key has one value", key)
		case ours(key):
			return fmt.Errorf("%q is Lapse's own; any key does but %s and those of lapse.dev", key, v1alpha1.ManagedByLabel)
		}
		to[key] = value
	}
	return nil
}

// ours says whether a key has, or may come to have, a meaning for Lapse.
func ours(key string) bool {
	prefix, _, _ := strings.Cut(strings.ToLower(key), "/")
	group := v1alpha1.GroupVersion.Group
	return key == v1alpha1.ManagedByLabel || prefix == group || strings.HasSuffix(prefix, "."+group)
}

// Put it on a binding that is about to be made. What is there already stays.
func (m Metadata) Put(b *rbacv1.RoleBinding) {
	b.Labels = merged(m.labels, b.Labels)
	b.Annotations = merged(m.annotations, b.Annotations)
}

func merged(theirs, own map[string]string) map[string]string {
	out := maps.Clone(theirs)
	if out == nil {
		return own
	}
	maps.Copy(out, own)
	return out
}
