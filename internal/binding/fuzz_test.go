// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package binding

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

var noon = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)

// FuzzDeadline: whatever the annotation says, there is an end, it is the annotation's
// if that is a time within the ceiling, and else the ceiling.
func FuzzDeadline(f *testing.F) {
	for _, seed := range []string{
		"", "tomorrow", "2026-12-01T13:00:00Z", "2026-12-01T14:00:00+01:00", "2026-12-02T12:00:05Z", "2026-12-02T12:00:31Z",
		"9999-12-31T23:59:59Z", "0000-01-01T00:00:00Z", "2026-12-01T13:00:00.999999999Z", "2026-12-01 13:00:00Z", "2026-12-01T13:00:60Z",
	} {
		f.Add(seed, int64(24*time.Hour))
	}
	f.Fuzz(func(t *testing.T, annotation string, nanoseconds int64) {
		ceiling := time.Duration(max(nanoseconds, 0) % int64(24*time.Hour+1))
		b := New(request(), v1alpha1.Subject{}, "", v1alpha1.Grant{})
		b.CreationTimestamp = metav1.NewTime(noon)
		b.Annotations[v1alpha1.ExpiresAtAnnotation] = annotation
		got, latest := Deadline(b, ceiling), noon.Add(ceiling)
		want, err := time.Parse("2006-01-02T15:04:05Z07:00", annotation)
		if err != nil || want.Sub(latest) > 30*time.Second {
			want = latest
		}
		if !got.Equal(want) {
			t.Errorf("Deadline(%q, %s) = %s, want %s", annotation, ceiling, got, want)
		}
	})
}

// FuzzName: the name is one that the API server takes, short, ours, and another
// one for another UID.
func FuzzName(f *testing.F) {
	f.Add("debug", "6f1c2d3e-0000", "6f1c2d3f-0000")
	f.Add(strings.Repeat("a", 253), "6f1c2d3e", "6f1c2d3d")
	f.Add(strings.Repeat("a.", 99)+"b", "11111111", "22222222")
	f.Add("a"+strings.Repeat("-", 60)+"b", "11111111", "22222222")
	f.Add("1", "1", "2")
	f.Fuzz(func(t *testing.T, name, uid, other string) {
		if len(validation.IsDNS1123Subdomain(name)) > 0 || !isUID(uid) || !isUID(other) {
			return
		}
		req := request()
		req.Name, req.UID = name, types.UID(uid)
		got := Name(req)
		if len(got) > 63 || len(validation.IsDNS1123Subdomain(got)) > 0 || !strings.HasPrefix(got, v1alpha1.BindingPrefix) ||
			!strings.HasSuffix(got, "-"+uid[:min(8, len(uid))]) {
			t.Errorf("Name(%s, %s) = %s", name, uid, got)
		}
		req.UID = types.UID(other)
		if same := uid[:min(8, len(uid))] == other[:min(8, len(other))]; (Name(req) == got) != same {
			t.Errorf("%s: %s and %s share the name %s: %v", name, uid, other, got, !same)
		}
	})
}

// isUID says whether s could be the beginning of a UID.
func isUID(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdef-") == "" && strings.Trim(s[:min(8, len(s))], "-") == s[:min(8, len(s))]
}
