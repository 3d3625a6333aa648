// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// behindWrites is a client whose cache shows one request, whatever is written.
type behindWrites struct {
	client.Client
	cached *v1alpha1.AccessRequest
}

func (b behindWrites) Get(_ context.Context, _ client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	b.cached.DeepCopyInto(obj.(*v1alpha1.AccessRequest))
	return nil
}

func (behindWrites) Status() client.SubResourceWriter { return accepting{} }

type accepting struct{ client.SubResourceWriter }

func (accepting) Patch(_ context.Context, obj client.Object, _ client.Patch, _ ...client.SubResourcePatchOption) error {
	obj.SetResourceVersion("100")
	return nil
}

func TestARequestIsReadAsItWasWrittenUntilTheCacheShowsIt(t *testing.T) {
	cached := by("alice", "")
	cached.UID, cached.ResourceVersion = "4602efc0", "99"
	own := newOwnWrites(behindWrites{cached: cached})
	written := cached.DeepCopy()
	written.Status.State = v1alpha1.StateActive
	if err := own.Status().Patch(t.Context(), written, client.MergeFrom(cached)); err != nil {
		t.Fatal(err)
	}
	written.Status.State = v1alpha1.StateRevoked // which is not written yet
	for _, step := range []struct {
		name    string
		change  func()
		version string
		state   v1alpha1.RequestState
	}{
		{"the cache is behind", func() {}, "100", v1alpha1.StateActive},
		{"another one of that name is there", func() { cached.UID = "74ce1a2b" }, "99", ""},
		{"the cache is further", func() { cached.UID, cached.ResourceVersion = "4602efc0", "101" }, "101", ""},
		{"that is remembered", func() { cached.ResourceVersion = "99" }, "99", ""},
	} {
		step.change()
		req := &v1alpha1.AccessRequest{}
		if err := own.Get(t.Context(), client.ObjectKeyFromObject(cached), req); err != nil {
			t.Fatal(err)
		}
		if req.ResourceVersion != step.version || req.Status.State != step.state {
			t.Errorf("%s: read version %s in state %q, want %s in %q", step.name, req.ResourceVersion, req.Status.State, step.version, step.state)
		}
	}
}
