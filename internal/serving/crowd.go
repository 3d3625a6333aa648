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

// crowd are the connections that wait for their client: no whole request has come, or it was
// answered. When there are too many, the oldest of the host that has the most is closed. So
// whoever sends a whole request at once is answered.
type crowd struct {
	limit int

	mu    sync.Mutex
	order *list.List // of member, the oldest first
	at    map[net.Conn]*list.Element
	from  map[string]int // how many each host has
}

// member is a connection, and the host that it comes from.
type member struct {
	conn net.Conn
	host string
}

func newCrowd(limit int) *crowd {
	return &crowd{limit: limit, order: list.New(), at: map[net.Conn]*list.Element{}, from: map[string]int{}}
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
	if out := c.joinAndChoose(conn); out != nil {
		// Not by way of TLS, which would wait to say farewell to somebody who does not read.
		if secure, ok := out.(*tls.Conn); ok {
			out = secure.NetConn()
		}
		_ = out.Close() // it is closed, or was before
	}
}

// joinAndChoose returns the connection that has to go; nil if there is room.
func (c *crowd) joinAndChoose(conn net.Conn) net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := member{conn, host(conn.RemoteAddr().String())}
	c.at[conn] = c.order.PushBack(m)
	c.from[m.host]++
	if c.order.Len() <= c.limit {
		return nil
	}
	out := c.order.Front()
	for e := out.Next(); e != nil; e = e.Next() {
		if c.from[e.Value.(member).host] > c.from[out.Value.(member).host] {
			out = e
		}
	}
	return c.remove(out)
}

func (c *crowd) leave(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, there := c.at[conn]; there {
		c.remove(e)
	}
}

func (c *crowd) remove(e *list.Element) net.Conn {
	m := c.order.Remove(e).(member)
	delete(c.at, m.conn)
	if c.from[m.host]--; c.from[m.host] == 0 {
		delete(c.from, m.host)
	}
	return m.conn
}

// host is that of an address with a port.
func host(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	return host
}
