// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// crowd are the connections that have no answer coming: those whose request is not whole
// yet, and those that have had theirs. When there are too many, one is closed: the oldest
// of the host that has the most. So whoever says at once what he wants gets his answer,
// however many say nothing.
type crowd struct {
	limit int

	mu    sync.Mutex
	order *list.List // of net.Conn, the oldest first
	at    map[net.Conn]*list.Element
}

func newCrowd(limit int) *crowd {
	return &crowd{limit: limit, order: list.New(), at: map[net.Conn]*list.Element{}}
}

// connKey is where the context of a request has its connection.
type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// state follows a connection from its beginning to its end.
func (c *crowd) state(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		c.join(conn)
	case http.StateClosed, http.StateHijacked:
		c.leave(conn)
	case http.StateActive, http.StateIdle:
	}
}

// handle takes a connection out of the crowd while it gets its answer.
func (c *crowd) handle(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if conn, ok := r.Context().Value(connKey{}).(net.Conn); ok {
			c.leave(conn)
			defer c.join(conn)
		}
		next.ServeHTTP(w, r)
	})
}

func (c *crowd) join(conn net.Conn) {
	if one := c.joinAndChoose(conn); one != nil {
		// Not by way of TLS, which would wait to say farewell to somebody who does not read.
		if secure, ok := one.(*tls.Conn); ok {
			one = secure.NetConn()
		}
		_ = one.Close() // it is closed, or was before
	}
}

// joinAndChoose returns the connection that has to go; nil if there is room.
func (c *crowd) joinAndChoose(conn net.Conn) net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at[conn] = c.order.PushBack(conn)
	if c.order.Len() <= c.limit {
		return nil
	}
	from := map[string]int{}
	for e := c.order.Front(); e != nil; e = e.Next() {
		from[host(e.Value.(net.Conn))]++
	}
	out := c.order.Front()
	for e := out.Next(); e != nil; e = e.Next() {
		if from[host(e.Value.(net.Conn))] > from[host(out.Value.(net.Conn))] {
			out = e
		}
	}
	one := c.order.Remove(out).(net.Conn)
	delete(c.at, one)
	return one
}

// host is whom a connection comes from.
func host(conn net.Conn) string {
	host, _, err := net.SplitHostPort(conn.RemoteAddr().String())
	if err != nil {
		return ""
	}
	return host
}

func (c *crowd) leave(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, there := c.at[conn]; there {
		c.order.Remove(e)
		delete(c.at, conn)
	}
}
