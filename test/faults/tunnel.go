// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"io"
	"net"
	"net/url"
	"sync"

	"k8s.io/client-go/rest"
)

// tunnel carries connections to the API server as they are, on the loopback interface.
type tunnel struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	conns []net.Conn
	// dead is closed when the connections that there are by then are to swallow all.
	dead chan struct{}
}

// newTunnel leads to the API server of config until close.
func newTunnel(config *rest.Config) (*tunnel, error) {
	host, err := url.Parse(config.Host)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &tunnel{listener: listener, target: host.Host, dead: make(chan struct{})}
	go t.serve()
	return t, nil
}

// through is config by way of the tunnel.
func (t *tunnel) through(config *rest.Config) *rest.Config {
	out := rest.CopyConfig(config)
	out.Host = "https://" + t.listener.Addr().String()
	return out
}

// swallow has every connection that there is stay open, and pass nothing on any more, as
// when a machine between goes away. New ones work.
func (t *tunnel) swallow() {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.dead)
	t.dead = make(chan struct{})
}

func (t *tunnel) close() {
	_ = t.listener.Close() //nolint:errcheck // it is over
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.conns {
		_ = c.Close() //nolint:errcheck // it is over
	}
}

func (t *tunnel) serve() {
	for {
		near, err := t.listener.Accept()
		if err != nil {
			return
		}
		far, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", t.target)
		if err != nil {
			_ = near.Close() //nolint:errcheck // the caller tries again
			continue
		}
		t.mu.Lock()
		t.conns = append(t.conns, near, far)
		dead := t.dead
		t.mu.Unlock()
		go carry(near, far, dead)
		go carry(far, near, dead)
	}
}

// carry passes on what comes, until an end closes, or without a word from when dead is.
func carry(from, to net.Conn, dead <-chan struct{}) {
	_, _ = io.Copy(mortal{to, dead}, from) //nolint:errcheck // an end closed, one way or another
	select {
	case <-dead: // nobody is told
	default:
		_ = to.Close() //nolint:errcheck // as the other end did
	}
}

// mortal writes until dead is closed, and then swallows.
type mortal struct {
	io.Writer
	dead <-chan struct{}
}

func (m mortal) Write(data []byte) (int, error) {
	select {
	case <-m.dead:
		return len(data), nil
	default:
		return m.Writer.Write(data)
	}
}
