// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package telling

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/lapse-dev/lapse/internal/receiver"
)

const (
	// firstRetry is the pause before a record is tried again; the next is twice as long.
	firstRetry = 100 * time.Millisecond
	// lastRetry is the longest such pause.
	lastRetry = 30 * time.Second
	// refusals is how often in a row a sink has to refuse a record, which takes 13 seconds,
	// until it is offered without what may be the reason.
	refusals = 8
	// choosyFor is how long a sink counts as choosy that took a record only so.
	choosyFor = time.Hour
	// choosyRefusals is how often such a sink has to refuse a record: else whoever asks could
	// keep it 13 seconds behind with each request.
	choosyRefusals = 2
)

// insistence delivers to one sink or receiver what it may not want, thing by thing.
type insistence struct {
	name  string
	clock clock.Clock
	// withheld is when something was last taken only without what it says.
	withheld time.Time
}

// until something is taken. What is refused too often is offered with less in it. An error means
// that the context ended before.
func (i *insistence) until(ctx context.Context, id string, deliver func(context.Context) error, less func(context.Context, error) error) error {
	retry, refused := firstRetry, 0
	for {
		err := deliver(ctx)
		if refused++; !errors.Is(err, errRefused) {
			refused = 0
		}
		if refused >= i.enough() {
			if err, refused = less(ctx, err), 0; err == nil {
				i.withheld = i.clock.Now()
			}
		}
		if err == nil {
			return nil
		}
		log.FromContext(ctx).Error(err, "it could not be delivered, and is tried again", "to", i.name, "id", id)
		select {
		case <-i.clock.After(max(retry, leftAlone(err))):
			retry = min(2*retry, lastRetry)
		case <-ctx.Done():
			return fmt.Errorf("sink %s: %w", i.name, err)
		}
	}
}

// leftAlone is how long a receiver asked to be left alone.
func leftAlone(err error) time.Duration {
	if later, found := errors.AsType[*receiver.Later](err); found {
		return later.After
	}
	return 0
}

// taken is nil if a receiver took a message, also if some of its addresses never will: the log
// names them, and what comes next waits for none of them.
func taken(ctx context.Context, to string, err error) error {
	if partly, found := errors.AsType[*receiver.Partly](err); found {
		log.FromContext(ctx).Error(partly, "not all addresses of a receiver take its messages", "receiver", to)
		return nil
	}
	return err
}

// enough is how many refusals are put up with.
func (i *insistence) enough() int {
	if !i.withheld.IsZero() && i.clock.Since(i.withheld) < choosyFor {
		return choosyRefusals
	}
	return refusals
}
