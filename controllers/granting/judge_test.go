// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"errors"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/test/builders"
)

// nothing is a cluster in which every object is there, and empty.
type nothing struct{ client.Client }

func (nothing) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return nil
}
func (nothing) List(context.Context, client.ObjectList, ...client.ListOption) error { return nil }

func TestAJudgementThatWaitsForItsTurnCanBeBrokenOff(t *testing.T) {
	j := newJudges(nothing{}, nothing{}, policy.Limits{})
	j.again <- struct{}{} // one that hangs, as where a role is not read
	req := builders.Request("r").Build()
	req.Status.State = v1alpha1.StatePending
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := j.of(ctx, nothing{}, nothing{}, time.Now(), req).Decide()
		done <- err
	}()
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("err = %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("it keeps its seat for as long as the other one hangs")
	}
}
