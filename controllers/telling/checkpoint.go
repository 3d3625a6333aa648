// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package telling

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/note"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/internal/audit"
)

const (
	// checkpointName is the Lease that has the checkpoints: a kind that the operator may write
	// anyway.
	checkpointName = "lapse-records"
	// checkpointAnnotation of that Lease, with the name of a sink, is a checkpoint in JSON.
	checkpointAnnotation = "records.lapse.dev/"
	// headAnnotation, with the name of a sink, is the last record as a head to keep elsewhere,
	// signed if there is a key.
	headAnnotation = "records-head.lapse.dev/"
)

// checkpoint is up to where a sink took all records, and the last of them.
type checkpoint struct {
	mark
	Head audit.Head `json:"head"`
}

// checkpoints are kept in the cluster.
type checkpoints struct {
	client    client.Writer
	live      client.Reader
	namespace string
	signer    note.Signer // nil signs nothing
}

// read is the last checkpoint of a sink; the zero one if there is none.
func (c checkpoints) read(ctx context.Context, sink string) (checkpoint, error) {
	lease, err := c.lease(ctx)
	if err != nil || lease == nil {
		return checkpoint{}, err
	}
	return parseCheckpoint(lease.Annotations[checkpointAnnotation+sink], version(lease)), nil
}

// parseCheckpoint is the zero one, by which all is told again, if somebody else wrote it: what
// is newer than the Lease itself, nobody had told.
func parseCheckpoint(text string, written int64) checkpoint {
	var point checkpoint
	if json.Unmarshal([]byte(text), &point) != nil || point.Requests > written || point.Decisions > written {
		return checkpoint{}
	}
	return point
}

// lease is nil if there is none.
func (c checkpoints) lease(ctx context.Context) (*coordinationv1.Lease, error) {
	lease := &coordinationv1.Lease{}
	err := c.live.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: checkpointName}, lease)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return lease, err
}

// write the checkpoints of some sinks, by their names.
func (c checkpoints) write(ctx context.Context, now time.Time, points map[string]checkpoint) error {
	err := c.change(ctx, now, func(lease *coordinationv1.Lease) error {
		for sink, point := range points {
			if err := c.set(lease, sink, point); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("writing up to where records are told: %w", err)
	}
	return nil
}

// change the Lease, of which records and messages have parts.
func (c checkpoints) change(ctx context.Context, now time.Time, change func(*coordinationv1.Lease) error) error {
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		lease, err := c.lease(ctx)
		if err != nil {
			return err
		}
		create := lease == nil
		if create {
			lease = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: checkpointName}}
		}
		if err := change(lease); err != nil {
			return err
		}
		lease.Spec.RenewTime = &metav1.MicroTime{Time: now}
		if create {
			return c.client.Create(ctx, lease)
		}
		return c.client.Update(ctx, lease)
	})
}

func (c checkpoints) set(lease *coordinationv1.Lease, sink string, point checkpoint) error {
	text, err := json.Marshal(point)
	if err != nil {
		return err
	}
	head, err := point.Head.Note(c.signer)
	if err != nil {
		return fmt.Errorf("signing the last record: %w", err)
	}
	metav1.SetMetaDataAnnotation(&lease.ObjectMeta, checkpointAnnotation+sink, string(text))
	metav1.SetMetaDataAnnotation(&lease.ObjectMeta, headAnnotation+sink, string(head))
	return nil
}
