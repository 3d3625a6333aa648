// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// Proxy stands between a client and the API server, on the loopback interface. Who
// the client is passes through it as it is.
type Proxy struct {
	server  *httptest.Server
	forward *httputil.ReverseProxy
	fault   atomic.Pointer[injected]
	ahead   atomic.Int64
	watches gate
}

// injected is a fault, and over is closed when another took its place.
type injected struct {
	decide Fault
	over   chan struct{}
}

// NewProxy serves the API server of config until Close.
func NewProxy(config *rest.Config) (*Proxy, error) {
	secure, err := rest.TLSConfigFor(rest.AnonymousClientConfig(config))
	if err != nil {
		return nil, err
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		return nil, err
	}
	p := &Proxy{}
	p.forward = &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:      transport(secure),
		FlushInterval:  -1, // watches
		ModifyResponse: p.setDate,
		// As if the connection had failed, which it did.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:     log.New(io.Discard, "", 0),
	}
	p.server = httptest.NewUnstartedServer(p)
	p.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	p.server.StartTLS() // client-go sends no token without
	return p, nil
}

func transport(secure *tls.Config) http.RoundTripper {
	return &http.Transport{TLSClientConfig: secure, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 100}
}

// Close ends the proxy and every connection through it.
func (p *Proxy) Close() {
	p.Inject(nil)
	p.CutWatches()
	p.server.CloseClientConnections()
	p.server.Close()
}

// Through is config by way of the proxy.
func (p *Proxy) Through(config *rest.Config) *rest.Config {
	out := rest.CopyConfig(config)
	out.Host = p.server.URL
	out.CAData = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw})
	return out
}

// Inject replaces the fault; nil forwards everything. What hangs is cut.
func (p *Proxy) Inject(f Fault) {
	var next *injected
	if f != nil {
		next = &injected{decide: f, over: make(chan struct{})}
	}
	if last := p.fault.Swap(next); last != nil {
		close(last.over)
	}
}

// SetClockAhead has the Date of every answer show a clock that is ahead.
func (p *Proxy) SetClockAhead(d time.Duration) { p.ahead.Store(int64(d)) }

// HoldWatches keeps all events back, of watches that run and of new ones, until
// ReleaseWatches or CutWatches.
func (p *Proxy) HoldWatches() { p.watches.hold() }

// ReleaseWatches lets pass what was held.
func (p *Proxy) ReleaseWatches() { p.watches.release() }

// CutWatches ends all watches, and drops what was held of them.
func (p *Proxy) CutWatches() {
	p.watches.cut()
	p.watches.release()
}

func (p *Proxy) setDate(res *http.Response) error {
	if d := time.Duration(p.ahead.Load()); d != 0 {
		res.Header.Set("Date", time.Now().Add(d).UTC().Format(http.TimeFormat))
	}
	return nil
}

// ServeHTTP lets the fault decide.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	call, effect := callOf(r), Effect{}
	fault := p.fault.Load()
	if fault != nil {
		effect = fault.decide(call)
	}
	if effect.Before != nil {
		effect.Before()
	}
	if effect.Delay > 0 && !delay(r, effect.Delay) {
		panic(http.ErrAbortHandler)
	}
	switch {
	case effect.Hang:
		hang(r, fault.over)
		panic(http.ErrAbortHandler)
	case effect.Drop:
		panic(http.ErrAbortHandler)
	case effect.Status != 0:
		refuse(w, effect.Status)
	case effect.Body != nil:
		p.play(w, r, effect.Body)
	case effect.After != nil || effect.Mute:
		p.forwardWhole(w, r, effect)
	case call.Verb == "watch":
		p.watch(w, r)
	default:
		p.forward.ServeHTTP(w, r)
	}
}

// hang waits until the caller gives up or the fault is over. The server notices that a
// caller is gone only when his body was read.
func hang(r *http.Request, over <-chan struct{}) {
	_, _ = io.Copy(io.Discard, r.Body) //nolint:errcheck // the caller may be gone
	select {
	case <-r.Context().Done():
	case <-over:
	}
}

// delay says whether the caller is still there after d.
func delay(r *http.Request, d time.Duration) bool {
	body, err := io.ReadAll(r.Body) // as in hang
	r.Body = io.NopCloser(bytes.NewReader(body))
	select {
	case <-r.Context().Done():
		return false
	case <-time.After(d):
		return err == nil
	}
}

// watch forwards events as the gate allows, until watches are cut.
func (p *Proxy) watch(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	cut := p.watches.next()
	go func() {
		select {
		case <-cut:
			cancel()
		case <-ctx.Done():
		}
	}()
	p.forward.ServeHTTP(&gatedWriter{ResponseWriter: w, gate: &p.watches, cut: cut}, r.WithContext(ctx))
}

// forwardWhole has the API server finish, whatever becomes of the caller.
func (p *Proxy) forwardWhole(w http.ResponseWriter, r *http.Request, effect Effect) {
	answer := httptest.NewRecorder()
	p.forward.ServeHTTP(answer, r.WithContext(context.WithoutCancel(r.Context())))
	if effect.After != nil {
		effect.After()
	}
	if effect.Mute {
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes()) //nolint:errcheck // the caller may be gone
}

// play streams what was recorded, and then nothing until watches are cut.
func (p *Proxy) play(w http.ResponseWriter, r *http.Request, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) //nolint:errcheck // the caller may be gone
	_ = http.NewResponseController(w).Flush()
	select {
	case <-r.Context().Done():
	case <-p.watches.next():
	}
	panic(http.ErrAbortHandler)
}

// refuse answers as the API server does.
func refuse(w http.ResponseWriter, code int) {
	reasons := map[int]metav1.StatusReason{
		http.StatusConflict: metav1.StatusReasonConflict, http.StatusTooManyRequests: metav1.StatusReasonTooManyRequests,
		http.StatusInternalServerError: metav1.StatusReasonInternalError, http.StatusGone: metav1.StatusReasonExpired,
	}
	status := metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
		Code: int32(code), Reason: reasons[code], Message: "a fault was injected", //nolint:gosec // an HTTP status
	}
	w.Header().Set("Content-Type", "application/json")
	if code == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(status) //nolint:errcheck // the caller may be gone
}
