// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestWhatIsOurs(t *testing.T) {
	for name, tc := range map[string]struct {
		meta metav1.ObjectMeta
		want bool
	}{
		"by its name":               {metav1.ObjectMeta{Name: "lapse-drain"}, true},
		"by our domain in its name": {metav1.ObjectMeta{Name: "v1alpha1.lapse.dev"}, true},
		"as a part":                 {metav1.ObjectMeta{Name: "a", Labels: map[string]string{"app.kubernetes.io/part-of": "lapse"}}, true},
		"as what we manage":         {metav1.ObjectMeta{Name: "a", Labels: map[string]string{"app.kubernetes.io/managed-by": "lapse"}}, true},
		"by a label":                {metav1.ObjectMeta{Name: "a", Labels: map[string]string{"lapse.dev/bindable": "true"}}, true},
		"by an annotation":          {metav1.ObjectMeta{Name: "a", Annotations: map[string]string{"lapse.dev/expires-at": ""}}, true},
		"not by somebody else's": {metav1.ObjectMeta{
			Name: "collapse-lapsed", Labels: map[string]string{"app.kubernetes.io/managed-by": "Helm"},
			Annotations: map[string]string{"note": "lapse.dev"},
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := isOurs(&metav1.PartialObjectMetadata{ObjectMeta: tc.meta}); got != tc.want {
				t.Errorf("it is ours: %t", got)
			}
		})
	}
}

func TestWhatIsStuckSaysSo(t *testing.T) {
	o := &metav1.PartialObjectMetadata{}
	o.Namespace, o.Name, o.Finalizers = "payments", "keys", []string{"example.com/pin"}
	if got, want := describe(o), "payments/keys"; got != want {
		t.Errorf("it is %s, not %s", got, want)
	}
	o.DeletionTimestamp = &metav1.Time{}
	if got, want := describe(o), `payments/keys is being deleted, with finalizers ["example.com/pin"]`; got != want {
		t.Errorf("it is %s, not %s", got, want)
	}
}
