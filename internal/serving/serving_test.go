// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// serve runs a server of a handler, and returns its address.
func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	server, err := New("test", "127.0.0.1:0", handler, false)
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

func get(t *testing.T, address string, header http.Header) (status int, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		req.Header = header
	}
	res, err := http.DefaultClient.Do(req)
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
	address := serve(t, ok)
	for range 5 * maxCrowd {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: x\r\nX-Half: "); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if status, body := get(t, address, nil); status != http.StatusOK || body != "ok" {
			t.Errorf("%d %s", status, body)
		}
	}
}

func TestTheOldestOfTooManyIsClosed(t *testing.T) {
	c := newCrowd(2)
	conns := make([]net.Conn, 4)
	for i := range conns {
		here, there := net.Pipe()
		t.Cleanup(func() { _ = there.Close() })
		conns[i] = here
		c.state(here, http.StateNew)
		if i == 1 {
			c.leave(conns[0]) // it gets its answer
		}
	}
	for i, closed := range []bool{false, true, false, false} {
		_ = conns[i].SetDeadline(time.Now().Add(-time.Second))
		_, err := conns[i].Read(make([]byte, 1))
		if got := errors.Is(err, io.ErrClosedPipe); got != closed {
			t.Errorf("connection %d: closed = %v, want %v (%v)", i, got, closed, err)
		}
		c.state(conns[i], http.StateClosed)
	}
	if len(c.at) != 0 || c.order.Len() != 0 {
		t.Errorf("still there: %v", c.at)
	}
}

func TestHeadersAreBounded(t *testing.T) {
	status, _ := get(t, serve(t, ok), http.Header{"X-Long": {strings.Repeat("a", 2*maxHeader)}})
	if status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", status)
	}
}

// reviews is an API server that knows one token, of somebody who may get one path.
type reviews struct {
	client.Writer
	asked int
	err   error
}

func (r *reviews) Create(_ context.Context, obj client.Object, _ ...client.CreateOption) error {
	switch review := obj.(type) {
	case *authenticationv1.TokenReview:
		r.asked++
		review.Status.Authenticated = review.Spec.Token == "prometheus" || review.Spec.Token == "eve"
		review.Status.User.Username = review.Spec.Token
	case *authorizationv1.SubjectAccessReview:
		review.Status.Allowed = review.Spec.User == "prometheus" && review.Spec.NonResourceAttributes.Path == "/metrics"
	}
	return r.err
}

func TestOnlyWhoMayReadsMetrics(t *testing.T) {
	for name, tc := range map[string]struct {
		header string
		err    error
		want   int
	}{
		"who may":                             {header: "Bearer prometheus", want: http.StatusOK},
		"somebody else":                       {header: "Bearer eve", want: http.StatusForbidden},
		"a token that nobody knows":           {header: "Bearer false", want: http.StatusUnauthorized},
		"no token":                            {header: "Bearer ", want: http.StatusUnauthorized},
		"a password":                          {header: "Basic cHJvbWV0aGV1cw==", want: http.StatusUnauthorized},
		"nobody":                              {want: http.StatusUnauthorized},
		"who may, but the API server is away": {header: "Bearer prometheus", err: errors.New("away"), want: http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			address := serve(t, Reviewed(ok, &reviews{err: tc.err}))
			if status, body := get(t, address, http.Header{"Authorization": {tc.header}}); status != tc.want {
				t.Errorf("%d %s, want %d", status, body, tc.want)
			}
		})
	}
}

func TestTheAPIServerHearsLittleOfFalseTokens(t *testing.T) {
	r := &reviews{}
	address := serve(t, Reviewed(ok, r))
	var refused int
	for range 200 {
		if status, _ := get(t, address, http.Header{"Authorization": {"Bearer false"}}); status == http.StatusTooManyRequests {
			refused++
		}
	}
	if r.asked > 3*reviewsAtOnce || refused == 0 {
		t.Errorf("asked about %d tokens; %d were refused", r.asked, refused)
	}
}
