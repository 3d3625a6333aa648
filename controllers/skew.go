// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"net/http"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// Skew measures how far the clock here is ahead of the API server's, from the Date
// of its answers (RFC 9110, 6.6.1). The zero value is not usable; see NewSkew.
type Skew struct {
	clock clock.PassiveClock
	mutex sync.Mutex
	ahead time.Duration
}

// NewSkew measures against the given clock.
func NewSkew(c clock.PassiveClock) *Skew { return &Skew{clock: c} }

// Ahead is how far the clock here is ahead, negative when behind. It is exact to
// the second that a Date has, and to the time that the quickest answer takes.
func (s *Skew) Ahead() time.Duration {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.ahead
}

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
// date+1s) at some time between sent and received. What is known already stays as far as
// it agrees with that: an answer that took long says little.
func (s *Skew) observe(sent, received, date time.Time) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.ahead = min(max(s.ahead, sent.Sub(date.Add(time.Second))), received.Sub(date))
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
