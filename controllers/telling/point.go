// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package telling

import (
	"context"
	"encoding/json"
	"maps"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/lapse-dev/lapse/internal/message"
)

// messagesAnnotation of the Lease of checkpoints, with the name of a receiver, is a point in JSON.
const messagesAnnotation = "messages.lapse.dev/"

// point is up to where a receiver was told all: changes by the mark, and what is due at some
// moment by the time.
type point struct {
	mark
	Time time.Time `json:"time"`
}

// writtenPoint is a point in the Lease, and how many messages were sent until then.
type writtenPoint struct {
	mark
	sent int
}

// readPoint is the last one of a receiver; nil if there is none, or somebody else wrote it: what
// is newer than the Lease itself, nobody had told.
func (c checkpoints) readPoint(ctx context.Context, receiver string) (*point, error) {
	lease, err := c.lease(ctx)
	if err != nil || lease == nil {
		return nil, err
	}
	p := &point{}
	written := version(lease)
	if json.Unmarshal([]byte(lease.Annotations[messagesAnnotation+receiver]), p) != nil || p.Requests > written || p.Decisions > written {
		return nil, nil //nolint:nilerr // what cannot be read was written by nobody of ours
	}
	return p, nil
}

// checkpoint writes up to where receivers were told, if there is something new. Who is no
// receiver any more is forgotten: what it missed is not for it.
func (ms *Messages) checkpoint(ctx context.Context) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	points, written := map[string]string{}, map[string]writtenPoint{}
	for _, m := range ms.current {
		p, sent, begun := m.point()
		name, now := m.to.Name, writtenPoint{p.mark, sent}
		if last, there := ms.written[name]; !begun || there && last == now {
			continue
		}
		text, err := json.Marshal(p)
		if err != nil {
			continue // it has numbers alone
		}
		points[name], written[name] = string(text), now
	}
	if len(points) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	c := checkpoints{client: ms.o.Writer, live: ms.o.Live, namespace: ms.o.Namespace}
	if err := c.change(ctx, ms.o.Clock.Now(), func(lease *coordinationv1.Lease) error {
		maps.DeleteFunc(lease.Annotations, func(key, _ string) bool {
			name, ours := strings.CutPrefix(key, messagesAnnotation)
			return ours && !ms.has(name)
		})
		for name, text := range points {
			metav1.SetMetaDataAnnotation(&lease.ObjectMeta, messagesAnnotation+name, text)
		}
		return nil
	}); err != nil {
		log.FromContext(ctx).Error(err, "messages are told again from the last checkpoint if the operator starts anew")
		return
	}
	maps.Copy(ms.written, written)
}

func (ms *Messages) has(name string) bool {
	for _, m := range ms.current {
		if m.to.Name == name {
			return true
		}
	}
	return false
}

// before says whether a message was told before this messenger began.
func (m *messenger) before(one *message.Message, covered bool) bool {
	switch {
	case one.Timed:
		return !one.At.After(m.since.Time)
	case one.Event == message.Asked: // at whatever time it began to wait
		return covered
	}
	return covered || one.At.Before(m.since.Time.Add(-statusLag))
}
