// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package serving answers probes and scrapes. Anybody on the network of the Pods may
// connect. net/http allows a megabyte of headers for each connection, which ends an
// operator whose memory has a limit; so this package has lower bounds.
package serving

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
	certutil "k8s.io/client-go/util/cert"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

const (
	// maxHeader is the size of the headers of a request, in bytes: a scraper sends a token.
	maxHeader = 8 << 10
	// maxCrowd is how many connections there are without a request that is whole.
	maxCrowd = 128
	// maxConns is how many connections there are, with those that are being answered. More
	// wait to be accepted.
	maxConns = 4 * maxCrowd
	// requestTimeout is how long a request may take to arrive.
	requestTimeout = 5 * time.Second
	// answerTimeout is how long its answer may take.
	answerTimeout = 30 * time.Second
	// idleTimeout is how long a connection may say nothing between two scrapes.
	idleTimeout = 2 * time.Minute
)

// Add adds a server of an address to a manager; none for "0", or if there is no address.
func Add(mgr manager.Manager, name, address string, handler http.Handler, secure bool) error {
	if address == "0" || address == "" {
		return nil
	}
	server, err := newServer(name, address, handler, secure)
	if err != nil {
		return fmt.Errorf("serving %s: %w", name, err)
	}
	return mgr.Add(server)
}

// newServer listens on an address. With TLS it has a certificate that it made for itself.
func newServer(name, address string, handler http.Handler, secure bool) (*manager.Server, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	listener = netutil.LimitListener(listener, maxConns)
	if secure {
		cert, err := selfSigned()
		if err != nil {
			return nil, fmt.Errorf("making a certificate: %w", err)
		}
		// HTTP/2 would let one connection have many requests under way.
		listener = tls.NewListener(listener, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}})
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

// selfSigned is a certificate that nobody has reason to trust. Its key is one of those that
// sign fast, since strangers may begin to speak TLS as often as they like.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	cert, err := certutil.NewSelfSignedCACert(certutil.Config{CommonName: "localhost"}, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}, nil
}
