// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lapse-dev/lapse/internal/message"
)

// ErrRefused says that a receiver understood what it was sent and does not want it.
var ErrRefused = errors.New("refused")

// Later says that a receiver asks to come again, and when.
type Later struct {
	Status string
	After  time.Duration
}

// Error says so.
func (l *Later) Error() string {
	return fmt.Sprintf("it answered %s, and to come again after %s", l.Status, l.After)
}

// Partly says that some addresses of a receiver took a message, and the others refuse it.
type Partly struct{ Refusal error }

// Error says so.
func (p *Partly) Error() string {
	return "some addresses took it, and others refuse it: " + p.Refusal.Error()
}

// Receiver is somebody who is told.
type Receiver struct {
	// Name in metrics, in the log and in the checkpoint.
	Name string
	// Type of it, such as slack.
	Type string
	// Options of what it is told.
	Options message.Options
	// Send a message, in one attempt. ErrRefused, Later and Partly are told apart from other
	// errors. No error has a URL or a secret in it.
	Send func(context.Context, message.Message) error

	events []message.Event
	// namespaces and policies of the requests; nil stands for all.
	namespaces, policies []string
}

// Wants says whether the receiver is to be told.
func (r *Receiver) Wants(m message.Message) bool {
	switch {
	case !slices.Contains(r.events, m.Event):
		return false
	case m.Event.OfCluster():
		return true
	}
	return (r.namespaces == nil || slices.Contains(r.namespaces, m.Namespace)) && (r.policies == nil || slices.Contains(r.policies, m.Policy))
}
