// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package binding

import (
	"maps"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

func TestMetadataOfOthersIsPutBesideOurs(t *testing.T) {
	m, err := NewMetadata(
		[]string{"team=platform", "example.com/cost-center=42", "app.kubernetes.io/part-of="}, []string{"example.com/why=a=b, c"},
	)
	if err != nil {
		t.Fatal(err)
	}
	req := request()
	req.Spec.RoleRef = v1alpha1.RoleRef{Kind: "ClusterRole", Name: "view"}
	at := metav1.Now().Rfc3339Copy()
	want := New(req, v1alpha1.Subject{}, "", v1alpha1.Grant{Binding: "lapse-x", GrantedAt: at, ExpiresAt: at})
	got := want.DeepCopy()
	m.Put(got)
	if d := Differences(got, want); d != nil {
		t.Errorf("it is told of as altered: %q", d)
	}
	if !MadeFor(got, req, v1alpha1.Subject{}) {
		t.Error("it is taken for a stranger's")
	}
	for _, tc := range []struct {
		name      string
		got, want map[string]string
	}{
		{"labels", got.Labels, map[string]string{"team": "platform", "example.com/cost-center": "42", "app.kubernetes.io/part-of": ""}},
		{"annotations", got.Annotations, map[string]string{"example.com/why": "a=b, c"}},
	} {
		maps.DeleteFunc(tc.got, func(key, _ string) bool { return ours(key) })
		if !maps.Equal(tc.got, tc.want) {
			t.Errorf("%s = %v, want %v", tc.name, tc.got, tc.want)
		}
	}
	second := want.DeepCopy()
	m.Put(second)
	if second.Labels[v1alpha1.RequestUIDLabel] != string(req.UID) {
		t.Errorf("the first binding's labels are on the second: %v", second.Labels)
	}
	none := want.DeepCopy()
	Metadata{}.Put(none)
	if !maps.Equal(none.Labels, want.Labels) {
		t.Errorf("without metadata, labels = %v", none.Labels)
	}
}

func TestMetadataThatCannotBeIsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		labels, annotations []string
		says                string
	}{
		"no value":                    {[]string{"team"}, nil, `--binding-label: "team" has no =`},
		"twice":                       {[]string{"team=a", "team=b"}, nil, `"team" is given twice`},
		"our mark":                    {[]string{"app.kubernetes.io/managed-by=helm"}, nil, "is Lapse's own"},
		"our label":                   {[]string{"lapse.dev/request-uid=x"}, nil, "is Lapse's own"},
		"our annotation":              {nil, []string{"lapse.dev/expires-at=x"}, `--binding-annotation: "lapse.dev/expires-at" is Lapse's own`},
		"one that may come to be":     {[]string{"internal.lapse.dev/x=y"}, nil, "is Lapse's own"},
		"in capitals":                 {[]string{"LAPSE.dev/x=y"}, nil, "is Lapse's own"},
		"an empty key":                {[]string{"=x"}, nil, "--binding-label"},
		"a key that none can have":    {[]string{"my team=x"}, nil, "my team"},
		"a value that none can have":  {[]string{"team=a b"}, nil, "a b"},
		"an annotation's key":         {nil, []string{"my note=x"}, "my note"},
		"annotations without measure": {nil, []string{"note=" + strings.Repeat("x", maxMetadata)}, "have 4100 characters"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := NewMetadata(tc.labels, tc.annotations); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error = %v, want %q", err, tc.says)
			}
		})
	}
}
