// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"
)

// What bounds a connection. An answer may have to wait for the API server.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = time.Minute
	idleTimeout   = 2 * time.Minute
	closeTimeout  = time.Second
	maxHeaders    = 16 << 10
)

// firstPort is the first that needs no rights. A browser leaves 80 out of what it calls us.
const firstPort = 1024

// Listen opens a port of this machine that no other one reaches, and says by which names a
// browser may call it. Port 0 is any that is free.
func Listen(ctx context.Context, address string, port int) (l net.Listener, hosts []string, err error) {
	if address == "localhost" {
		address = "127.0.0.1"
	}
	if ip := net.ParseIP(address); ip == nil || !ip.IsLoopback() {
		return nil, nil, fmt.Errorf("--address %s is not of this machine alone: whoever reaches the page acts with your credentials, and nothing on the way is "+
			"encrypted; 127.0.0.1 and ::1 are allowed, and from elsewhere ssh -L PORT:127.0.0.1:PORT leads to it", address)
	}
	if port != 0 && (port < firstPort || port > 65535) {
		return nil, nil, fmt.Errorf("--port %d: %d to 65535 are allowed, and 0 for any that is free", port, firstPort)
	}
	l, err = (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(address, strconv.Itoa(port)))
	if err != nil {
		return nil, nil, fmt.Errorf("--address %s --port %d: %w", address, port, err)
	}
	_, actual, err := net.SplitHostPort(l.Addr().String())
	return l, []string{net.JoinHostPort(address, actual), net.JoinHostPort("localhost", actual)}, err
}

// Serve answers until ctx ends, which is no error.
func Serve(ctx context.Context, l net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaders,
		BaseContext:    func(net.Listener) context.Context { return ctx },
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if err := server.Shutdown(closing); err != nil {
		_ = server.Close() // whoever is still served has waited long enough
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

//go:embed assets
var assets embed.FS

// Assets serves the style sheet, the script and the icon.
func Assets(mux *http.ServeMux) {
	for name, kind := range map[string]string{
		"page.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml",
	} {
		content, err := assets.ReadFile("assets/" + name)
		if err != nil {
			panic(err) // only ever a file that is not embedded
		}
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = w.Write(content)
		})
	}
}

// Head is what the head of each page has: its title, and the assets.
func Head(title string) []Part {
	return []Part{
		El("title", Text(title)),
		El("link", Attr("rel", "icon"), Attr("href", "icon.svg")),
		El("link", Attr("rel", "stylesheet"), Attr("href", "page.css")),
		El("script", Attr("src", "page.js"), Attr("defer", "")),
	}
}
