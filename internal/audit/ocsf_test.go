// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/hostile"
)

// ocsfOf are the events of a grant to somebody, as JSON reads them.
func ocsfOf(t *testing.T, to v1alpha1.Subject, change func(*History)) []map[string]any {
	t.Helper()
	req, decisions := revoked()
	req.Spec.Subject = &to
	s := reported(t, Question{}, req, decisions, "")[0]
	if change != nil {
		change(s)
	}
	events, err := OCSF(s)
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]any
	if err := json.Unmarshal([]byte(text(t, events)), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// at follows a path such as metadata.product.name.
func at(event map[string]any, path string) any {
	var value any = event
	for name := range strings.SplitSeq(path, ".") {
		object, _ := value.(map[string]any)
		value = object[name]
	}
	return value
}

func TestAGrantIsToldInOCSFWithAllThatIsRequired(t *testing.T) {
	// Of the classes of OCSF 1.8.0. A product and a group need a name or a uid; a user one of them, or an account.
	required := []string{
		"activity_id", "category_uid", "class_uid", "type_uid", "severity_id", "time", "metadata.version", "metadata.product.name",
	}
	for name, tc := range map[string]struct {
		to       v1alpha1.Subject
		class    float64
		required []string
	}{
		"a user":    {v1alpha1.Subject{Kind: v1alpha1.UserKind, Name: "alice"}, 3005, []string{"user.name", "privileges"}},
		"a group":   {v1alpha1.Subject{Kind: v1alpha1.GroupKind, Name: "oncall"}, 3006, []string{"group.name", "privileges"}},
		"a machine": {v1alpha1.Subject{Kind: v1alpha1.ServiceAccountKind, Namespace: "ci", Name: "x"}, 3005, []string{"user.name", "privileges"}},
	} {
		events := ocsfOf(t, tc.to, nil)
		if len(events) != 2 {
			t.Fatalf("%s: %d events", name, len(events))
		}
		for i, e := range events {
			for _, path := range append(slices.Clone(required), tc.required...) {
				if at(e, path) == nil {
					t.Errorf("%s: %s is missing in %s", name, path, text(t, e))
				}
			}
			activity, _ := e["activity_id"].(float64)
			if e["class_uid"] != tc.class || activity != float64(i+1) || e["type_uid"] != tc.class*100+activity || e["category_uid"] != 3.0 {
				t.Errorf("%s: what it is: %s", name, text(t, e))
			}
			if strings.Contains(text(t, e), `"$`) {
				t.Errorf("%s: something is not filled in: %s", name, text(t, e))
			}
		}
	}
}

func TestOCSFSaysWhoHadWhatFromWhenToWhen(t *testing.T) {
	alice := v1alpha1.Subject{Kind: v1alpha1.UserKind, Name: "alice"}
	events := ocsfOf(t, alice, nil)
	for path, want := range map[string][2]any{
		"time":                  {float64(after(5).UnixMilli()), float64(after(60).UnixMilli())},
		"actor.user.name":       {"alice", "carol"},
		"user.name":             {"alice", "alice"},
		"metadata.uid":          {"4602efc0/granted", "4602efc0/ended"},
		"unmapped.reason":       {"INC-4211", "INC-4211"},
		"unmapped.binding":      {"lapse-debug-4602efc0", "lapse-debug-4602efc0"},
		"unmapped.end_reason":   {nil, v1alpha1.ReasonRevoked},
		"unmapped.approved_by":  {nil, nil},
		"message":               {"ClusterRole edit for alice in payments", "ClusterRole edit for alice in payments"},
		"metadata.product.name": {"Lapse", "Lapse"},
	} {
		if got := [2]any{at(events[0], path), at(events[1], path)}; got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
	if begun := ocsfOf(t, alice, func(s *History) { s.Grant.EndedAt = nil }); len(begun) != 1 {
		t.Errorf("while access is held there are %d events", len(begun))
	}
	if none := ocsfOf(t, alice, func(s *History) { s.Grant = nil }); len(none) != 0 {
		t.Errorf("of a refusal there are %d events", len(none))
	}
	expired := ocsfOf(t, alice, func(s *History) { s.Grant.EndedBy = "" })[1]
	if expired["actor"] != nil {
		t.Errorf("nobody ended it, and the actor is %v", expired["actor"])
	}
}

func TestWhatPeopleWroteIsNoNameInOCSF(t *testing.T) {
	for _, s := range append(hostile.Strings(t), "$binding", "$reason") {
		want := string([]rune(s))
		events := ocsfOf(t, v1alpha1.Subject{Kind: v1alpha1.UserKind, Name: s}, func(story *History) {
			story.Request.Reason, story.Request.Requester.Username, story.Grant.EndedBy = s, s, s
		})
		for _, e := range events {
			for _, path := range []string{"user.name", "actor.user.name", "unmapped.reason"} {
				if got := at(e, path); got != want {
					t.Errorf("%s: %.60q became %.60q", path, want, got)
				}
			}
		}
	}
}
