// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package binding

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

func TestOnlyTheBindingItselfIsGone(t *testing.T) {
	notFound := func(resource string) error { return apierrors.NewNotFound(rbacv1.Resource(resource), "x") }
	page := apierrors.NewGenericServerResponse(http.StatusNotFound, "GET", rbacv1.Resource("rolebindings"), "x", "<html>", 0, true)
	for name, tc := range map[string]struct {
		err  error
		want bool
	}{
		"no error":                {nil, false},
		"the binding":             {notFound("rolebindings"), true},
		"the binding, wrapped":    {fmt.Errorf("emptying: %w", notFound("rolebindings")), true},
		"its ClusterRole":         {notFound("clusterroles"), false},
		"its Role":                {notFound("roles"), false},
		"nobody knows what":       {notFound(""), false},
		"the page of a proxy":     {page, false},
		"another object is there": {apierrors.NewConflict(rbacv1.Resource("rolebindings"), "x", errors.New("UID in precondition")), false},
		"no answer":               {errors.New("the connection was lost"), false},
	} {
		if got := Gone(tc.err); got != tc.want {
			t.Errorf("%s: %t, want %t", name, got, tc.want)
		}
	}
}
