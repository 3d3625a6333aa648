// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"net/http"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"
)

// Skew measures how far the clock here is ahead of the API server's, from the Date
// of its answers (RFC 9110, 6.6.1). The zero value is not usable; see NewSkew.
type Skew struct {
	clock clock.PassiveClock
	ahead atomic.Int64 // nanoseconds
}

// NewSkew measures against the given clock.
func NewSkew(c clock.PassiveClock) *Skew { return &Skew{clock: c} }

// Ahead is how far the clock here is ahead, negative when behind. It is exact to
// the second that a Date has, and to the time that an answer takes.
func (s *Skew) Ahead() time.Duration { return time.Duration(s.ahead.Load()) }

// Wrap measures with every answer that passes; for rest.Config.Wrap.
func (s *Skew) Wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		sent := s.clock.Now()
		res, err := next.RoundTrip(req)
		if err != nil {
			return res, err
		}
		if date, parseErr := http.ParseTime(res.Header.Get("Date")); parseErr == nil {
			s.observe(sent, s.clock.Now(), date)
		}
		return res, nil
	})
}

// observe takes what is certain: the server's clock showed a moment in [date,
// date+1s) at some time between sent and received.
func (s *Skew) observe(sent, received, date time.Time) {
	switch {
	case sent.After(date.Add(time.Second)):
		s.ahead.Store(int64(sent.Sub(date.Add(time.Second))))
	case received.Before(date):
		s.ahead.Store(int64(received.Sub(date)))
	default:
		s.ahead.Store(0)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
