// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/utils/lru"
)

const (
	// turnsPerSecond is how many unknown tokens the API server is asked about. A scraper has
	// one, and another one in an hour.
	turnsPerSecond = 5
	turnsAtOnce    = 10
	// hostPause is how long a host waits for another turn once it has had some at once: one
	// that sends false tokens without end leaves nearly all turns to others.
	hostPause       = 5 * time.Second
	hostTurnsAtOnce = 3
	// maxHosts is how many hosts are remembered.
	maxHosts = 1024
)

// turns are the questions that the API server is asked about unknown tokens.
type turns struct {
	all *rate.Limiter

	mu    sync.Mutex
	hosts *lru.Cache // of *rate.Limiter, by host
}

func newTurns() *turns {
	return &turns{all: rate.NewLimiter(turnsPerSecond, turnsAtOnce), hosts: lru.New(maxHosts)}
}

// take says whether it is the turn of a host. One that has to wait takes none from others.
func (t *turns) take(host string) bool { return t.of(host).Allow() && t.all.Allow() }

func (t *turns) of(host string) *rate.Limiter {
	t.mu.Lock()
	defer t.mu.Unlock()
	if own, there := t.hosts.Get(host); there {
		return own.(*rate.Limiter)
	}
	own := rate.NewLimiter(rate.Every(hostPause), hostTurnsAtOnce)
	t.hosts.Add(host, own)
	return own
}
