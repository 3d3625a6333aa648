// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"errors"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/grant"
	"github.com/lapse-dev/lapse/test/builders"
)

func TestWhenARequestIsLookedAtAgain(t *testing.T) {
	now, failed := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC), &grant.Outcome{State: v1alpha1.StateFailed}
	webhook := errors.New("webhook")
	for name, tc := range map[string]struct {
		after   time.Time
		outcome *grant.Outcome
		err     error
		want    time.Duration
	}{
		"when the step says":               {now.Add(time.Hour), nil, nil, time.Hour},
		"at once, if that is past":         {now.Add(-time.Hour), nil, nil, time.Millisecond},
		"never, if it says nothing":        {time.Time{}, nil, nil, 0},
		"a minute later, if it failed":     {time.Time{}, failed, nil, time.Minute},
		"that minute, whatever it says":    {now.Add(time.Hour), failed, nil, time.Minute},
		"by the queue's pace, on an error": {now.Add(time.Hour), failed, webhook, 0},
	} {
		got, err := again(now, builders.Request("debug").Build(), tc.after, tc.outcome, tc.err)
		if got.RequeueAfter != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("%s: after %s, %v; want %s", name, got.RequeueAfter, err, tc.want)
		}
	}
}

// unwritable is an API server at which a webhook for status does not find what it needs.
type unwritable struct {
	client.Client
	requests map[string]*v1alpha1.AccessRequest
}

func (u unwritable) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	req := u.requests[key.Name]
	if req == nil {
		return noRequest(key.Name)
	}
	req.DeepCopyInto(into.(*v1alpha1.AccessRequest))
	return nil
}

func noRequest(name string) error {
	return apierrors.NewNotFound(v1alpha1.GroupVersion.WithResource("accessrequests").GroupResource(), name)
}

func (u unwritable) Status() client.SubResourceWriter { return notFinding{} }

type notFinding struct{ client.SubResourceWriter }

func (notFinding) Patch(_ context.Context, obj client.Object, _ client.Patch, _ ...client.SubResourcePatchOption) error {
	return noRequest(obj.GetName())
}

func TestOnlyOfARequestThatIsGoneNothingIsRecorded(t *testing.T) {
	before := builders.Request("debug").Build()
	for there, requests := range map[bool]map[string]*v1alpha1.AccessRequest{true: {before.Name: before}, false: {}} {
		server := unwritable{requests: requests}
		req := before.DeepCopy()
		req.Status.State = v1alpha1.StateRevoked
		if err := (&RequestReconciler{client: server, live: server}).record(t.Context(), before, req); (err != nil) != there {
			t.Errorf("it is there: %t, and the error is %v", there, err)
		}
	}
}
