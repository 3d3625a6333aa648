// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"

	. "github.com/onsi/ginkgo/v2"

	"github.com/lapse-dev/lapse/internal/audit"
)

// receiver takes records over HTTP. It can be made to hang at one.
type receiver struct {
	server *httptest.Server

	mu    sync.Mutex
	lines [][]byte
	// hangs says at which it does, once.
	hangs func(*audit.Record) bool
	hung  chan struct{}
}

func newReceiver() *receiver {
	r := &receiver{}
	r.server = httptest.NewServer(r)
	DeferCleanup(func() {
		r.server.CloseClientConnections()
		r.server.Close()
	})
	return r
}

// hangAt has the next such record of a request not be answered before its sender is gone. The
// channel is closed when it is there.
func (r *receiver) hangAt(what audit.Type, request string) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hung = make(chan struct{})
	r.hangs = func(record *audit.Record) bool {
		return record.Type == what && record.Data.Request != nil && record.Data.Request.Name == request
	}
	return r.hung
}

// ServeHTTP takes one.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	line, err := io.ReadAll(req.Body)
	if err != nil {
		return // its sender is gone
	}
	var record audit.Record
	if err := json.Unmarshal(line, &record); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if !r.take(line, &record) {
		<-req.Context().Done()
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (r *receiver) take(line []byte, record *audit.Record) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hangs != nil && r.hangs(record) {
		close(r.hung)
		r.hangs = nil
		return false
	}
	r.lines = append(r.lines, line)
	return true
}

// all that it took, one to a line.
func (r *receiver) all() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append(bytes.Join(r.lines, []byte("\n")), '\n')
}

// recordsIn are those of a file about requests, each once. What a kill broke off is none.
func recordsIn(file []byte) []audit.Record {
	var out []audit.Record
	for line := range bytes.Lines(file) {
		var r audit.Record
		if json.Unmarshal(line, &r) != nil || r.Data.Request == nil {
			continue
		}
		if !slices.ContainsFunc(out, func(known audit.Record) bool { return known.ID == r.ID }) {
			out = append(out, r)
		}
	}
	return out
}

// typesOf what was recorded of a request.
func typesOf(file []byte, request string) []audit.Type {
	var out []audit.Type
	for _, r := range recordsIn(file) {
		if r.Data.Request.Name == request {
			out = append(out, r.Type)
		}
	}
	return out
}
