// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// Where the plugin takes another refusal for this one, it names its user unasked and sends
// the same once more.
func TestOnlyAFieldThatTheSchemaMissesIsFilledIn(t *testing.T) {
	requester, subject := field.NewPath("spec", "requester"), field.NewPath("spec", "subject")
	invalid := func(errs ...*field.Error) error {
		return apierrors.NewInvalid(v1alpha1.GroupVersion.WithKind("AccessRequest").GroupKind(), "debug", errs)
	}
	missing := field.Required(requester, "requester is missing")
	requests := v1alpha1.GroupVersion.WithResource("accessrequests").GroupResource()
	for name, tc := range map[string]struct {
		err  error
		want bool
	}{
		"it is missing":                        {invalid(missing), true},
		"it is one of two that are":            {invalid(field.Required(subject, "subject is missing"), missing), true},
		"it is missing, said in other words":   {fmt.Errorf("creating it: %w", invalid(missing)), true},
		"another one is missing":               {invalid(field.Required(subject, "subject is missing")), false},
		"a field in it is missing":             {invalid(field.Required(requester.Child("username"), "")), false},
		"it is there, and wrong":               {invalid(field.Invalid(requester, "x", "requester is missing")), false},
		"an admission policy says the same":    {apierrors.NewForbidden(requests, "debug", missing), false},
		"nothing is said of fields":            {&apierrors.StatusError{ErrStatus: metav1.Status{Reason: metav1.StatusReasonInvalid}}, false},
		"it is no answer of the API server":    {errors.New("spec.requester: Required value"), false},
		"it was created, and nothing is wrong": {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := lacks(tc.err, "spec.requester"); got != tc.want {
				t.Errorf("it lacks it: %t, want %t: %v", got, tc.want, tc.err)
			}
		})
	}
}
