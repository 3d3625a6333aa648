// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package serving answers probes and scrapes. Anybody on the network of the Pods may
// connect, and costs the operator no more than it can spare: what is bounded by default in
// net/http, such as a megabyte of headers for each connection, ends an operator whose
// memory has a limit.
package serving

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	certutil "k8s.io/client-go/util/cert"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

const (
	// maxHeader is the size of the headers of a request, in bytes: a scraper sends a token.
	maxHeader = 8 << 10
	// maxCrowd is how many connections there are without a request that is whole.
	maxCrowd = 128
	// requestTimeout is how long a request may take to arrive.
	requestTimeout = 5 * time.Second
	// answerTimeout is how long its answer may take.
	answerTimeout = 30 * time.Second
	// idleTimeout is how long a connection may say nothing between two scrapes.
	idleTimeout = 2 * time.Minute
)

// New is a server of an address, for a manager. With TLS it has a certificate that it made
// for itself, as kube-controller-manager has.
func New(name, address string, handler http.Handler, secure bool) (*manager.Server, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serving %s: %w", name, err)
	}
	if secure {
		cert, key, err := certutil.GenerateSelfSignedCertKey("localhost", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
		if err != nil {
			return nil, fmt.Errorf("making a certificate for %s: %w", name, err)
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("making a certificate for %s: %w", name, err)
		}
		// HTTP/2 would let one connection have many requests under way.
		listener = tls.NewListener(listener, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}})
	}
	c, grace := newCrowd(maxCrowd), time.Second
	return &manager.Server{
		Name: name, Listener: listener, ShutdownTimeout: &grace,
		Server: &http.Server{
			Handler: c.handle(handler), ConnState: c.state, ConnContext: withConn,
			MaxHeaderBytes: maxHeader, ReadHeaderTimeout: requestTimeout, ReadTimeout: requestTimeout,
			WriteTimeout: answerTimeout, IdleTimeout: idleTimeout,
			ErrorLog: log.New(io.Discard, "", 0), // strangers would fill the log
		},
	}, nil
}
