// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package servertime tells the time of the API server. What it stamps, and what it is asked
// to end, go by its clock and not by the one here.
package servertime

import (
	"net/http"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// Clock shows the API server's time. It measures how far the clock here is ahead, from the
// Date of the API server's answers (RFC 9110, 6.6.1). Until there is an answer the two
// count as equal.
type Clock struct {
	// Here is the clock of this machine: for waiting, and for how long something took.
	Here clock.WithTickerAndDelayedExecution

	mutex sync.Mutex
	ahead time.Duration
}

// New measures against the clock of this machine.
func New(here clock.WithTickerAndDelayedExecution) *Clock { return &Clock{Here: here} }

// Now is the API server's time.
func (c *Clock) Now() time.Time { return c.Here.Now().Add(-c.Ahead()) }

// Ahead is how far the clock here is ahead, negative when behind. It is exact to
// the second that a Date has, and to the time that the quickest answer takes.
func (c *Clock) Ahead() time.Duration {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.ahead
}

// Wrap measures with every answer that passes; for rest.Config.Wrap.
func (c *Clock) Wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		sent := c.Here.Now()
		res, err := next.RoundTrip(req)
		if err != nil {
			return res, err
		}
		if date, parseErr := http.ParseTime(res.Header.Get("Date")); parseErr == nil {
			c.Observe(sent, c.Here.Now(), date)
		}
		return res, nil
	})
}

// Observe measures by one answer, which was asked for and received at these moments of the
// clock here. What is certain is this: the server's clock showed a moment in
// [date, date+1s) at some time between the two. What is known already stays as far as it
// agrees with that, since an answer that took long says little.
func (c *Clock) Observe(sent, received, date time.Time) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.ahead = min(max(c.ahead, sent.Sub(date.Add(time.Second))), received.Sub(date))
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
