// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"
)

// crowd are the connections that have no answer coming: those whose request is not whole
// yet, and those that have had theirs. When there are too many, the one that has been
// there longest is closed, so that whoever says at once what he wants gets his answer,
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
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at[conn] = c.order.PushBack(conn)
	if c.order.Len() <= c.limit {
		return
	}
	oldest := c.order.Front()
	delete(c.at, c.order.Remove(oldest).(net.Conn))
	_ = oldest.Value.(net.Conn).Close() // it is closed, or was before
}

func (c *crowd) leave(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, there := c.at[conn]; there {
		c.order.Remove(e)
		delete(c.at, conn)
	}
}
