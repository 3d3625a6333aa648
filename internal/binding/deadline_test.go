// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package binding

import (
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/text"
)

func TestReapAt(t *testing.T) {
	made := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	const ceiling = 24 * time.Hour
	end, atCeiling := made.Add(time.Hour+ReapSlack), made.Add(ceiling+ReapSlack)
	labels := map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy, v1alpha1.RequestUIDLabel: "6f1c0000-1"}
	managedBy := func(who string) map[string]string { return map[string]string{v1alpha1.ManagedByLabel: who} }
	alice := []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: "alice"}}
	for name, tc := range map[string]struct {
		name     string
		labels   map[string]string
		expires  string
		subjects []rbacv1.Subject
		want     time.Time // zero: never
	}{
		"at its end and a little":                       {"lapse-a-6f1c0000", labels, "2026-12-01T13:00:00Z", alice, end},
		"by its name and its end, without labels":       {"lapse-a-6f1c0000", nil, "2026-12-01T13:00:00Z", alice, end},
		"by its labels, under any name with the prefix": {"lapse-a", labels, "2026-12-01T13:00:00Z", alice, end},
		"without an end, at the ceiling":                {"lapse-a-6f1c0000", labels, "", alice, atCeiling},
		"by one label that is left":                     {"lapse-a-6f1c0000", managedBy(v1alpha1.ManagedBy), "", alice, atCeiling},
		"never a stranger's with such a name":           {"lapse-photo-app-deadbeef", nil, "", alice, time.Time{}},
		"never a stranger's that another tool manages":  {"lapse-photo-app-deadbeef", managedBy("Helm"), "", alice, time.Time{}},
		"with an unreadable end, at the ceiling":        {"lapse-a-6f1c0000", nil, "never", alice, atCeiling},
		"with an end beyond the ceiling, at it":         {"lapse-a-6f1c0000", nil, "2099-12-01T13:00:00Z", alice, atCeiling},
		"never when nobody holds a role by it":          {"lapse-a-6f1c0000", labels, "2026-12-01T13:00:00Z", nil, time.Time{}},
		"never a stranger's":                            {"team-a-6f1c0000", nil, "2026-12-01T13:00:00Z", alice, time.Time{}},
		"never a stranger's with our labels":            {"team-a-6f1c0000", labels, "2026-12-01T13:00:00Z", alice, time.Time{}},
		"never the prefix alone":                        {"lapse-leader-election", nil, "2026-12-01T13:00:00Z", alice, time.Time{}},
		"never a name with seven digits of a UID":       {"lapse-a-6f1c000", nil, "2026-12-01T13:00:00Z", alice, time.Time{}},
		"never a name without a request":                {"lapse-6f1c0000", nil, "2026-12-01T13:00:00Z", alice, time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			b := &rbacv1.RoleBinding{
				ObjectMeta: metav1.ObjectMeta{Name: tc.name, Labels: tc.labels, CreationTimestamp: metav1.NewTime(made)}, Subjects: tc.subjects,
			}
			if tc.expires != "" {
				b.Annotations = map[string]string{v1alpha1.ExpiresAtAnnotation: tc.expires}
			}
			got, ok := ReapAt(b, ceiling)
			if ok == tc.want.IsZero() || !got.Equal(tc.want) {
				t.Errorf("ReapAt = %s, %v; want %s", got, ok, tc.want)
			}
		})
	}
}

func TestOneMarkOfLapseIsEnough(t *testing.T) {
	label := func(key, value string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Labels: map[string]string{key: value}}
	}
	note := func(key string) metav1.ObjectMeta { return metav1.ObjectMeta{Annotations: map[string]string{key: ""}} }
	owner := func(version, kind string) metav1.ObjectMeta {
		app := metav1.OwnerReference{APIVersion: "apps/v1", Kind: "Deployment"}
		return metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{app, {APIVersion: version, Kind: kind}}}
	}
	for name, tc := range map[string]struct {
		left metav1.ObjectMeta
		want bool
	}{
		"none":                                {metav1.ObjectMeta{}, false},
		"a label":                             {label(v1alpha1.RequestUIDLabel, ""), true},
		"a label of a later version":          {label("lapse.dev/new", ""), true},
		"a label of a group that begins so":   {label("lapse.dev.example.com/x", ""), false},
		"who manages it":                      {label(v1alpha1.ManagedByLabel, v1alpha1.ManagedBy), true},
		"that another one manages it":         {label(v1alpha1.ManagedByLabel, "Helm"), false},
		"its name as that of another label":   {label("app", v1alpha1.ManagedBy), false},
		"an annotation":                       {note(v1alpha1.ExpiresAtAnnotation), true},
		"an annotation of another group":      {note("example.com/expires-at"), false},
		"its request":                         {owner("lapse.dev/v1alpha1", "AccessRequest"), true},
		"its request of a later version":      {owner("lapse.dev/v2", "AccessRequest"), true},
		"another kind of Lapse":               {owner("lapse.dev/v1alpha1", "AccessPolicy"), false},
		"a request of another group":          {owner("example.com/v1", "AccessRequest"), false},
		"a request of a group that begins so": {owner("lapse.dev.example.com/v1", "AccessRequest"), false},
	} {
		t.Run(name, func(t *testing.T) {
			b := &rbacv1.RoleBinding{ObjectMeta: tc.left, Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: "alice"}}}
			b.Name = "lapse-a-6f1c0000"
			if got := Gives(b); got != tc.want {
				t.Errorf("it gives access by Lapse: %v", got)
			}
		})
	}
}

func TestEveryBindingNameHasTheFormThatAReaperKnows(t *testing.T) {
	for _, name := range []string{"a", "a.b-c", "x0", "a-very-long-name-that-is-cut-because-nobody-could-read-it-in-a-table-anyway"} {
		req := &v1alpha1.AccessRequest{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "0a1b2c3d-1111-2222-3333-444455556666"}}
		if got := Name(req); !namePattern.MatchString(got) {
			t.Errorf("%s does not match %s", got, namePattern)
		}
	}
}

func TestDeadline(t *testing.T) {
	for name, tc := range map[string]struct {
		annotation string
		want       time.Time
	}{
		"readable":                      {text.Time(noon.Add(time.Hour)), noon.Add(time.Hour)},
		"missing: the ceiling":          {"", noon.Add(24 * time.Hour)},
		"garbage: the ceiling":          {"tomorrow", noon.Add(24 * time.Hour)},
		"beyond: the ceiling":           {text.Time(noon.Add(24*time.Hour + time.Minute)), noon.Add(24 * time.Hour)},
		"beyond by what clocks may be":  {text.Time(noon.Add(24*time.Hour + 5*time.Second)), noon.Add(24*time.Hour + 5*time.Second)},
		"beyond by the most of that":    {text.Time(noon.Add(24*time.Hour + MaxSkew)), noon.Add(24*time.Hour + MaxSkew)},
		"a second more: the ceiling":    {text.Time(noon.Add(24*time.Hour + MaxSkew + time.Second)), noon.Add(24 * time.Hour)},
		"with an offset: the same time": {"2026-12-01T14:00:00+01:00", noon.Add(time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			b := New(request(), v1alpha1.Subject{}, "", v1alpha1.Grant{})
			b.CreationTimestamp = metav1.NewTime(noon)
			b.Annotations[v1alpha1.ExpiresAtAnnotation] = tc.annotation
			if got := Deadline(b, 24*time.Hour); !got.Equal(tc.want) {
				t.Errorf("deadline = %s, want %s", got, tc.want)
			}
		})
	}
}
