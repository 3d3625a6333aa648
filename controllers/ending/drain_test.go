// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package ending

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// answers are those to deletions, one after the other; the last one stays. The operator may make
// RoleBindings by another role while that is asked so often.
type answers struct {
	client.Writer
	left    []error
	may     int
	problem string // of the authorizer
}

func (a *answers) Delete(context.Context, client.Object, ...client.DeleteOption) error {
	err := a.left[0]
	if len(a.left) > 1 {
		a.left = a.left[1:]
	}
	return err
}

func (a *answers) Create(_ context.Context, obj client.Object, _ ...client.CreateOption) error {
	review := obj.(*authorizationv1.SubjectAccessReview)
	review.Status.Allowed, review.Status.EvaluationError = a.may > 0, a.problem
	a.may--
	return nil
}

func TestGrantsAreStoppedWhenTheOperatorMayMakeNone(t *testing.T) {
	gone := apierrors.NewNotFound(rbacv1.Resource("clusterrolebindings"), "lapse-granting")
	away := errors.New("connection refused")
	for name, tc := range map[string]struct {
		answers answers
		want    string
	}{
		"it was not there":            {answers{left: []error{gone}}, ""},
		"it goes at once":             {answers{left: []error{nil, gone}}, ""},
		"the way there is not up yet": {answers{left: []error{away, away, nil, gone}}, ""},
		"a finalizer keeps it":        {answers{left: []error{nil}}, "lapse-granting stays: take off its finalizers"},
		"nobody lets it":              {answers{left: []error{errors.New("forbidden")}}, "forbidden"},
		"a webhook finds not its own": {answers{left: []error{apierrors.NewNotFound(corev1.Resource("configmaps"), "rules")}}, "rules"},
		"the authorizer is behind":    {answers{left: []error{nil, gone}, may: 2}, ""},
		"another role lets it":        {answers{left: []error{gone}, may: 100}, "by another role than that of ClusterRoleBinding lapse-granting"},
		"the authorizer cannot tell":  {answers{left: []error{gone}, problem: "webhook"}, "could not tell: webhook"},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		seconds := 0
		err := stopGranting(ctx, &tc.answers, func(context.Context, time.Duration) {
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
