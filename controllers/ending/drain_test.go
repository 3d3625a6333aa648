// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package ending

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// answers are those to deletions, one after the other; the last one stays.
type answers struct {
	client.Writer
	left []error
}

func (a *answers) Delete(context.Context, client.Object, ...client.DeleteOption) error {
	err := a.left[0]
	if len(a.left) > 1 {
		a.left = a.left[1:]
	}
	return err
}

func TestGrantsAreStoppedWhenTheirBindingIsGone(t *testing.T) {
	gone := apierrors.NewNotFound(rbacv1.Resource("clusterrolebindings"), "lapse-granting")
	away := errors.New("connection refused")
	for name, tc := range map[string]struct {
		answers []error
		want    string
	}{
		"it was not there":            {[]error{gone}, ""},
		"it goes at once":             {[]error{nil, gone}, ""},
		"the way there is not up yet": {[]error{away, away, nil, gone}, ""},
		"a finalizer keeps it":        {[]error{nil}, "lapse-granting stays: take off its finalizers"},
		"nobody lets it":              {[]error{errors.New("forbidden")}, "forbidden"},
		"a webhook finds not its own": {[]error{apierrors.NewNotFound(corev1.Resource("configmaps"), "rules")}, "rules"},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		seconds := 0
		err := stopGranting(ctx, &answers{left: tc.answers}, func(context.Context, time.Duration) {
			if seconds++; seconds == 10 {
				cancel()
			}
		})
		cancel()
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}
