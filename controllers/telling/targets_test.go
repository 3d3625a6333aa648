// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package telling

import (
	"bytes"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWhereRecordsMayGo(t *testing.T) {
	for to, want := range map[string]string{
		"stdout":                            "",
		"file:/var/log/records.jsonl":       "",
		"https://siem.example.com/in":       "",
		"http://127.0.0.1:8080/in":          "",
		"":                                  "has to be stdout",
		"stderr":                            "has to be stdout",
		"file:records.jsonl":                "absolute",
		"http://siem.example.com/in":        "https",
		"http://127.0.0.1.example.com/in":   "https",
		"https://":                          "has to be stdout",
		"https://u:secret@siem.example.com": "no password",
	} {
		_, err := Targets{To: []string{to}}.Sinks()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", to, err, want)
		}
	}
}

// breaking takes n bytes and then nothing.
type breaking struct {
	bytes.Buffer
	n int
}

func (b *breaking) Write(p []byte) (int, error) {
	if len(p) > b.n {
		n, _ := b.Buffer.Write(p[:b.n])
		return n, errors.New("no space left")
	}
	return b.Buffer.Write(p)
}

func TestALineThatBrokeOffIsWrittenAgainOnItsOwn(t *testing.T) {
	w := &breaking{n: 3}
	write := lines(w)
	if write(t.Context(), []byte("record")) == nil {
		t.Fatal("no error")
	}
	w.n = 100
	for _, line := range []string{"record", "next"} {
		if err := write(t.Context(), []byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.String(); got != "rec\nrecord\nnext\n" {
		t.Errorf("%q", got)
	}
}

func TestAFileIsForItsOwnerOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.jsonl")
	sinks, err := Targets{To: []string{"file:" + path}}.Sinks()
	if err != nil {
		t.Fatal(err)
	}
	if err := sinks[0].Write(t.Context(), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil || string(data) != "{}\n" || info.Mode().Perm() != 0o600 {
		t.Errorf("%q, %v, %v", data, info.Mode(), err)
	}
}

func TestARecordIsPosted(t *testing.T) {
	var got *http.Request
	var body []byte
	status := http.StatusAccepted
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.Header().Set("Location", "https://elsewhere.example.com")
		w.WriteHeader(status)
	}))
	defer server.Close()
	dir := t.TempDir()
	ca, token := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "token")
	write := func(name string, data []byte) {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	write(token, []byte("first\n"))
	sinks, err := Targets{To: []string{server.URL}, CAFile: ca, TokenFile: token}.Sinks()
	if err != nil {
		t.Fatal(err)
	}
	post := func() error { return sinks[0].Write(t.Context(), []byte(`{"specversion":"1.0"}`)) }
	if err := post(); err != nil {
		t.Fatal(err)
	}
	if string(body) != `{"specversion":"1.0"}` || got.Header.Get("Authorization") != "Bearer first" ||
		!strings.HasPrefix(got.Header.Get("Content-Type"), "application/cloudevents+json") {
		t.Errorf("%s %v", body, got.Header)
	}
	write(token, []byte("second"))
	if err := post(); err != nil || got.Header.Get("Authorization") != "Bearer second" {
		t.Errorf("a renewed token: %v, %v", got.Header, err)
	}
	for _, status = range []int{http.StatusFound, http.StatusUnauthorized, http.StatusInternalServerError} {
		if err := post(); err == nil || !strings.Contains(err.Error(), http.StatusText(status)) {
			t.Errorf("%d: %v", status, err)
		}
	}
	unknown, err := Targets{To: []string{server.URL}}.Sinks()
	if err != nil {
		t.Fatal(err)
	}
	if unknown[0].Write(t.Context(), []byte("{}")) == nil {
		t.Error("a certificate of nobody is trusted")
	}
}
