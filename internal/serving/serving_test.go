// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/healthz"
)

// serve runs a server of a handler, and returns its address.
func serve(t *testing.T, handler http.Handler, secure bool) string {
	t.Helper()
	server, err := newServer("test", "127.0.0.1:0", handler, secure)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Start(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return server.Listener.Addr().String()
}

var ok = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })

// trusting are clients that take any certificate, as scrapers have to. Each request has a
// connection of its own.
var trusting = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: anyCertificate}}

var anyCertificate = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // it makes its own

func get(t *testing.T, url string, header http.Header) (status int, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	res, err := trusting.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(answer)
}

func TestWhoSaysWhatHeWantsIsAnsweredBesideManyWhoDoNot(t *testing.T) {
	for scheme, dial := range map[string]func(address string) (net.Conn, error){
		"http":  func(address string) (net.Conn, error) { return net.Dial("tcp", address) },
		"https": func(address string) (net.Conn, error) { return tls.Dial("tcp", address, anyCertificate) },
	} {
		t.Run(scheme, func(t *testing.T) {
			address := serve(t, ok, scheme == "https")
			for range 5 * maxCrowd {
				conn, err := dial(address)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = conn.Close() })
				if _, err := io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: x\r\nX-Half: "); err != nil {
					t.Fatal(err)
				}
			}
			for range 3 {
				if status, body := get(t, scheme+"://"+address, nil); status != http.StatusOK || body != "ok" {
					t.Errorf("%d %s", status, body)
				}
			}
		})
	}
}

func TestHeadersAreBounded(t *testing.T) {
	status, _ := get(t, "https://"+serve(t, ok, true), http.Header{"X-Long": {strings.Repeat("a", 2*maxHeader)}})
	if status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", status)
	}
}

func TestNoMoreConnectionsAreServedThanMayBe(t *testing.T) {
	holds, letGo := make(chan struct{}), make(chan struct{})
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" {
			holds <- struct{}{}
			<-letGo
		}
		_, _ = io.WriteString(w, "ok")
	}), false)
	ask := func(path string) net.Conn {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	answered := func(conn net.Conn, within time.Duration) bool {
		_ = conn.SetReadDeadline(time.Now().Add(within))
		n, _ := conn.Read(make([]byte, 1))
		return n > 0
	}
	for range maxConns {
		ask("/held")
		<-holds
	}
	oneMore := ask("/")
	if answered(oneMore, 100*time.Millisecond) {
		t.Errorf("beside %d others, one more was answered", maxConns)
	}
	close(letGo)
	if !answered(oneMore, requestTimeout) {
		t.Error("the others have their answers, and it has none")
	}
}

func TestNothingMayTakeForEver(t *testing.T) {
	server, err := newServer("test", "127.0.0.1:0", ok, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Listener.Close(); err != nil {
		t.Error(err)
	}
	for what, limit := range map[string]time.Duration{
		"the header of a request": server.Server.ReadHeaderTimeout, "the rest of a request": server.Server.ReadTimeout,
		"an answer": server.Server.WriteTimeout, "the silence between two requests": server.Server.IdleTimeout,
	} {
		if limit <= 0 || limit > 2*time.Minute {
			t.Errorf("%s may take %s", what, limit)
		}
	}
}

// pipe is a connection from a host.
type pipe struct {
	net.Conn
	from string
}

func (p *pipe) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.ParseIP(p.from), Port: 40_000}
}

func connect(t *testing.T, from string) net.Conn {
	t.Helper()
	here, there := net.Pipe()
	t.Cleanup(func() { _ = there.Close() })
	return &pipe{here, from}
}

func closed(conn net.Conn) bool {
	_ = conn.SetDeadline(time.Now().Add(-time.Second))
	_, err := conn.Read(make([]byte, 1))
	return errors.Is(err, io.ErrClosedPipe)
}

func TestTheOldestOfTooManyIsClosed(t *testing.T) {
	const host, other = "10.0.0.1", "10.0.0.2"
	for name, tc := range map[string]struct {
		from []string
		want string // of each: is it closed?
	}{
		"as many as there may be":           {[]string{host, host, host}, "[false false false]"},
		"one more":                          {[]string{host, host, host, host}, "[true false false false]"},
		"of the host that has the most":     {[]string{other, host, host, host}, "[false true false false]"},
		"of all, where each host has one":   {[]string{"10.0.0.3", "10.0.0.4", other, host}, "[true false false false]"},
		"again and again, of the same host": {[]string{other, host, host, host, host, host}, "[false true true true false false]"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCrowd(3)
			conns, got := make([]net.Conn, len(tc.from)), make([]bool, len(tc.from))
			for i, from := range tc.from {
				conns[i] = connect(t, from)
				c.state(conns[i], http.StateNew)
			}
			for i, conn := range conns {
				got[i] = closed(conn)
				c.state(conn, http.StateClosed)
			}
			if fmt.Sprint(got) != tc.want {
				t.Errorf("closed: %v, want %s", got, tc.want)
			}
			if len(c.at) != 0 || c.order.Len() != 0 || len(c.from) != 0 {
				t.Errorf("still there: %v, %v", c.at, c.from)
			}
		})
	}
}

func TestWhoGetsHisAnswerIsNotClosed(t *testing.T) {
	c := newCrowd(1)
	first := connect(t, "10.0.0.1")
	c.state(first, http.StateNew)
	answer := c.handle(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		for range 3 {
			c.state(connect(t, "10.0.0.1"), http.StateNew)
		}
		if closed(first) {
			t.Error("closed while it is answered")
		}
	}))
	req, err := http.NewRequestWithContext(withConn(t.Context(), first), http.MethodGet, "/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer.ServeHTTP(nil, req)
	c.state(connect(t, "10.0.0.1"), http.StateNew)
	if !closed(first) {
		t.Error("not closed, though it has its answer and is the oldest")
	}
}

func TestProbes(t *testing.T) {
	away := func(*http.Request) error { return errors.New("away") }
	address := serve(t, Probes(map[string]map[string]healthz.Checker{
		"/healthz": {"ping": healthz.Ping}, "/readyz": {"here": healthz.Ping, "far": away},
	}), false)
	for path, want := range map[string]string{
		"/healthz":      "200 [+]ping ok\n",
		"/healthz/ping": "200 [+]ping ok\n",
		"/readyz":       "500 [-]far failed: away\n[+]here ok\n",
		"/readyz/here":  "200 [+]here ok\n",
		"/readyz/far":   "500 [-]far failed: away\n",
		"/readyz/other": "404 404 page not found\n",
		"/":             "404 404 page not found\n",
	} {
		status, body := get(t, "http://"+address+path, nil)
		if got := fmt.Sprint(status, " ", body); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}
