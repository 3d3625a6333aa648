// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
)

func TestOnlyThisMachineIsServed(t *testing.T) {
	for _, address := range []string{"0.0.0.0", "::", "192.0.2.1", "10.0.0.1", "example.com", "", "127.0.0.1:80", "localhost.example.com"} {
		l, _, err := Listen(t.Context(), address, 0)
		if err == nil {
			_ = l.Close()
			t.Errorf("--address %q is served", address)
		} else if !strings.Contains(err.Error(), "acts with your credentials") || !strings.Contains(err.Error(), "::1 are allowed") {
			t.Errorf("--address %q: %v", address, err)
		}
	}
	for _, port := range []int{-1, 80, 1023, 65536} {
		if l, _, err := Listen(t.Context(), "127.0.0.1", port); err == nil {
			_ = l.Close()
			t.Errorf("--port %d is served", port)
		}
	}
}

func TestTheServerAnswersUntilItIsEnded(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "localhost"} {
		ctx, stop := context.WithCancel(t.Context())
		l, hosts, err := Listen(ctx, address, 0)
		if err != nil {
			t.Fatal(err)
		}
		if l.Addr().String() != hosts[0] || !strings.HasPrefix(hosts[1], "localhost:") {
			t.Errorf("it is at %s, and called %q", l.Addr(), hosts)
		}
		hangs := make(chan struct{})
		served := make(chan error, 1)
		go func() {
			served <- Serve(ctx, l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/hangs" {
					close(hangs)
					<-r.Context().Done()
				}
				_, _ = io.WriteString(w, "here")
			}))
		}()
		get := func(path string) (string, error) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+hosts[0]+path, nil)
			if err != nil {
				return "", err
			}
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				return "", err
			}
			defer func() { _ = res.Body.Close() }()
			body, err := io.ReadAll(res.Body)
			return string(body), err
		}
		if body, err := get("/"); err != nil || body != "here" {
			t.Errorf("answered %q, %v", body, err)
		}
		go func() { _, _ = get("/hangs") }()
		<-hangs
		stop()
		if err := <-served; err != nil {
			t.Errorf("it ended with %v", err)
		}
		if _, err := get("/"); err == nil {
			t.Error("it is served after its end")
		}
	}
}

func TestWhatIsServedIsSmallAndHasNothingFromElsewhere(t *testing.T) {
	total := 0
	err := fs.WalkDir(assets, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := assets.ReadFile(path)
		total += len(content)
		for _, address := range []string{"http:", "https:", "//cdn", "@import", "url("} {
			if bytes.Contains(bytes.ReplaceAll(content, []byte("http://www.w3.org/2000/svg"), nil), []byte(address)) {
				t.Errorf("%s names %s", path, address)
			}
		}
		for _, runs := range []string{"innerHTML =", "eval(", "document.write", "insertAdjacentHTML", "outerHTML", "setTimeout(\""} {
			if bytes.Contains(content, []byte(runs)) {
				t.Errorf("%s has %s", path, runs)
			}
		}
		return err
	})
	if err != nil || total == 0 || total > 300_000 {
		t.Errorf("%d bytes, %v", total, err)
	}
}

func TestWhatPeopleWriteIsTextAndNothingElse(t *testing.T) {
	evil := "</title><script>alert(1)</script>\" onload='x' \u202egnp\x1b[2J\n<b>"
	var page bytes.Buffer
	err := Render(&page, Head(evil), []Part{
		El("p", Class(evil), Attr("title", evil), Text(evil), Said(evil)),
		Link("story", map[string][]string{evil: {evil}}, Said(evil)), Hidden("x", evil),
		If(false, El("script")), If(true, El("b")),
	})
	if err != nil {
		t.Fatal(err)
	}
	root, err := html.Parse(&page)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for node := range root.Descendants() {
		if node.Type == html.ElementNode {
			names = append(names, node.Data)
			for _, a := range node.Attr {
				if strings.HasPrefix(a.Key, "on") || a.Key == "style" {
					t.Errorf("<%s> has %s", node.Data, a.Key)
				}
			}
		}
		if strings.ContainsAny(node.Data, "\u202e\x1b") {
			t.Errorf("%q has what cannot be seen", node.Data)
		}
	}
	if got := strings.Join(names, " "); got != "html head meta meta title link link script body p bdi a bdi input b" {
		t.Errorf("the page has %s", got)
	}
}

func TestTheBrowserIsLedByAFileThatOnlyItsUserMayRead(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("it has other rights on files, and no shell scripts")
	}
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("PATH", home)
	const address = "http://127.0.0.1:4711/enter?token=SECRET"
	if _, err := Open(address); err == nil {
		t.Error("a browser is opened where there is none")
	}
	if left, _ := filepath.Glob(filepath.Join(home, "*.html")); len(left) > 0 {
		t.Errorf("a file is left: %q", left)
	}
	opener := append(openers[runtime.GOOS], "xdg-open")[0]
	script := "#!/bin/sh\ncd " + home + "\necho \"$@\" > new\n/bin/mv new called\n"
	if err := os.WriteFile(filepath.Join(home, opener), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	remove, err := Open(address)
	if err != nil {
		t.Fatal(err)
	}
	with := called(t, filepath.Join(home, "called"))
	if strings.Contains(with, "SECRET") {
		t.Errorf("the browser is called with %s", with)
	}
	file := strings.TrimSpace(with)
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s: %v, %v", file, info, err)
	}
	content, err := os.ReadFile(file)
	if err != nil || !bytes.Contains(content, []byte(`content="0; url=`+address+`"`)) {
		t.Errorf("the file has %s (%v)", content, err)
	}
	remove()
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is left: %v", err)
	}
}

// called waits for what the browser was called with.
func called(t *testing.T, file string) string {
	t.Helper()
	for range 500 {
		if with, err := os.ReadFile(file); err == nil {
			return string(with)
		}
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // another program writes it
	}
	t.Fatal("no browser was called")
	return ""
}
