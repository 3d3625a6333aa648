// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

// Whoever gives up on a deletion may have had it done.
func TestAnEndThatWasNotAnsweredCountsFromWhenTheBindingIsMissing(t *testing.T) {
	begun := time.Now()
	at := func(s int, verb string, code int32, object string) auditv1.Event {
		when := metav1.NewMicroTime(begun.Add(time.Duration(s) * time.Second))
		return auditv1.Event{
			Verb: verb, RequestReceivedTimestamp: when, StageTimestamp: when, ResponseStatus: &metav1.Status{Code: code},
			ObjectRef:      &auditv1.ObjectReference{Resource: "rolebindings", Namespace: "payments", Name: "lapse-debug-4602efc0"},
			ResponseObject: &runtime.Unknown{Raw: []byte(object)},
		}
	}
	made := at(0, "create", 201, `{"metadata":{"namespace":"payments","name":"lapse-debug-4602efc0","uid":"1"},"subjects":[{"name":"alice"}]}`)
	done := at(11, "delete", 200, `{"kind":"Status","details":{"uid":"1"}}`)
	gaveUp, missing := at(10, "delete", 504, `{"kind":"Status"}`), at(12, "get", 404, "")
	for name, tc := range map[string]struct {
		events []auditv1.Event
		ended  time.Duration
	}{
		"it was done":                        {[]auditv1.Event{made, gaveUp, missing, at(20, "get", 404, "")}, 12 * time.Second},
		"it is there":                        {[]auditv1.Event{made, gaveUp}, 0},
		"nobody asked for it":                {[]auditv1.Event{made, missing}, 0},
		"it was missing before it was made":  {[]auditv1.Event{at(-1, "delete", 504, ""), at(-1, "get", 404, ""), made}, 0},
		"it was done later, and answered so": {[]auditv1.Event{made, gaveUp, done, missing}, 11 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := NewHistory(tc.events, func(string) bool { return true })
			if err != nil {
				t.Fatal(err)
			}
			b := h.Bindings["1"]
			var ended time.Duration
			if !b.Ended.IsZero() {
				ended = b.Ended.Sub(begun).Round(time.Second)
			}
			if ended != tc.ended {
				t.Errorf("it ended after %s, want %s", ended, tc.ended)
			}
		})
	}
}
