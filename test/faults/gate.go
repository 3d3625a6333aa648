// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"net/http"
	"sync"
)

// gate holds streams up, or cuts them.
type gate struct {
	mu     sync.Mutex
	closed chan struct{} // while held: closed by release
	cuts   chan struct{} // closed by the next cut
}

func (g *gate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed == nil {
		g.closed = make(chan struct{})
	}
}

func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed != nil {
		close(g.closed)
		g.closed = nil
	}
}

// next is closed by the next cut.
func (g *gate) next() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cuts == nil {
		g.cuts = make(chan struct{})
	}
	return g.cuts
}

func (g *gate) cut() {
	g.mu.Lock()
	if g.cuts != nil {
		close(g.cuts)
		g.cuts = nil
	}
	g.mu.Unlock()
}

func (g *gate) held() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// gatedWriter waits at the gate with everything that it writes, and drops it if the
// stream is cut meanwhile.
type gatedWriter struct {
	http.ResponseWriter
	gate *gate
	cut  <-chan struct{}
}

func (w *gatedWriter) Write(data []byte) (int, error) {
	if held := w.gate.held(); held != nil {
		select {
		case <-w.cut:
		case <-held:
		}
	}
	select {
	case <-w.cut:
		return 0, http.ErrAbortHandler
	default:
		return w.ResponseWriter.Write(data)
	}
}

// Unwrap is for http.ResponseController.
func (w *gatedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
