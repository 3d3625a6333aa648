// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package telling

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
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

func TestSinksHaveNamesThatAreTheSameAtTheNextStart(t *testing.T) {
	names := func(to ...string) (out []string) {
		sinks, err := Targets{To: to}.Sinks()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range sinks {
			out = append(out, s.Name)
		}
		return out
	}
	all := names("stdout", "file:/var/log/a", "https://siem.example.com/in?key=secret", "https://other.example.com/in", "file:/var/log/b")
	again := names("https://other.example.com/in", "file:/var/log/new", "https://siem.example.com/in?key=secret", "stdout")
	if want := []string{all[3], all[1], all[2], all[0]}; !slices.Equal(again, want) || all[2] == all[3] {
		t.Errorf("%v, then %v", all, again)
	}
	for _, name := range all {
		if problems := validation.IsQualifiedName(checkpointAnnotation + name); len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
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
	write := lines(w, func() bool { return false })
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

// stuck takes nothing until it is let go.
type stuck struct {
	bytes.Buffer
	free chan struct{}
}

func (s *stuck) Write(p []byte) (int, error) {
	select {
	case <-s.free:
	case <-time.After(5 * time.Second):
	}
	return s.Buffer.Write(p)
}

// Writers that end wait for each other: one that hung kept the last records from all sinks.
func TestAFileThatHangsIsLeftAloneUntilItIsBack(t *testing.T) {
	w := &stuck{free: make(chan struct{})}
	write := lines(w, func() bool { return false })
	for _, line := range []string{"record", "record"} { // it is tried again
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		err := write(ctx, []byte(line))
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%v", err)
		}
	}
	close(w.free)
	if err := write(t.Context(), []byte("record")); err != nil {
		t.Fatal(err)
	}
	if got := w.String(); got != "record\nrecord\n" {
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

// siem answers with a status, and keeps what it got.
type siem struct {
	*httptest.Server
	status int
	got    *http.Request
	body   []byte
}

func newSIEM(t *testing.T) *siem {
	t.Helper()
	r := &siem{status: http.StatusAccepted}
	r.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, got *http.Request) {
		r.got = got
		r.body, _ = io.ReadAll(got.Body)
		w.Header().Set("Location", "https://elsewhere.example.com")
		w.WriteHeader(r.status)
	}))
	t.Cleanup(r.Close)
	return r
}

func writeFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// postTo is what posts records to a receiver.
func postTo(t *testing.T, r *siem, targets Targets) func() error {
	t.Helper()
	targets.To = []string{r.URL}
	sinks, err := targets.Sinks()
	if err != nil {
		t.Fatal(err)
	}
	return func() error { return sinks[0].Write(t.Context(), []byte(`{"specversion":"1.0"}`)) }
}

func (r *siem) ca(t *testing.T) string {
	t.Helper()
	return writeFile(t, "ca.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw}))
}

func TestAFileThatEndsInTheMiddleOfALineGoesOnWithANewOne(t *testing.T) {
	for before, want := range map[string]string{"": "{}\n", "{}\n": "{}\n{}\n", "{": "{\n{}\n"} {
		path := writeFile(t, "records.jsonl", []byte(before))
		sinks, err := Targets{To: []string{"file:" + path}}.Sinks()
		if err != nil {
			t.Fatal(err)
		}
		if err := sinks[0].Write(t.Context(), []byte("{}")); err != nil {
			t.Fatal(err)
		}
		if data, err := os.ReadFile(path); err != nil || string(data) != want {
			t.Errorf("after %q: %q, %v", before, data, err)
		}
	}
}

func TestARecordIsPosted(t *testing.T) {
	r := newSIEM(t)
	token := writeFile(t, "token", []byte("first\n"))
	post := postTo(t, r, Targets{CAFile: r.ca(t), TokenFiles: []string{token}})
	if err := post(); err != nil {
		t.Fatal(err)
	}
	kind := r.got.Header.Get("Content-Type")
	if string(r.body) != `{"specversion":"1.0"}` || !strings.HasPrefix(kind, "application/cloudevents+json") {
		t.Errorf("%s %s", kind, r.body)
	}
	if got := r.got.Header.Get("Authorization"); got != "Bearer first" {
		t.Errorf("token %q", got)
	}
	if err := os.WriteFile(token, []byte("second"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := post(); err != nil || r.got.Header.Get("Authorization") != "Bearer second" {
		t.Errorf("a renewed token: %v, %v", r.got.Header, err)
	}
}

func TestATokenIsForOneReceiver(t *testing.T) {
	siem, lake, file := "https://siem.example.com/in?key=a", "https://lake.example.com", "file:/var/log/records.jsonl"
	for name, tc := range map[string]struct {
		to, given []string
		siem      string
		lake      string
		refused   string
	}{
		"none":                       {[]string{siem, lake}, nil, "", "", ""},
		"one, and one URL":           {[]string{"stdout", file, siem}, []string{"/a"}, "/a", "", ""},
		"one, and one URL twice":     {[]string{siem, siem}, []string{"/a"}, "/a", "", ""},
		"one, and no URL":            {[]string{file}, []string{"/a"}, "", "", "/a is for no URL: "},
		"one more than there are":    {[]string{siem}, []string{siem + "=/a", "/b"}, "", "", "/b is for no URL: "},
		"one, for one of two":        {[]string{siem, lake}, []string{siem + "=/a"}, "/a", "", ""},
		"one for each":               {[]string{siem, lake}, []string{siem + "=/a", lake + "=/b"}, "/a", "/b", ""},
		"the same for each":          {[]string{siem, lake}, []string{siem + "=/a", lake + "=/a"}, "/a", "/a", ""},
		"the only one that is left":  {[]string{siem, lake}, []string{"/b", siem + "=/a"}, "/a", "/b", ""},
		"one, and not for which URL": {[]string{siem, lake}, []string{"/a"}, "", "", "/a does not say which of 2 URLs gets it; give URL=PATH"},
		"two, and one URL":           {[]string{siem}, []string{"/a", "/b"}, "", "", "/a and 1 more do not say which URL"},
		"two for one URL":            {[]string{siem}, []string{siem + "=/a", siem + "=/b"}, "", "", "token 2 is for a URL that has one"},
		"a URL that gets no record":  {[]string{siem}, []string{lake + "=/b"}, "", "", "token 1 is for a URL that --record-to does not have"},
		"a part of a URL":            {[]string{siem}, []string{"https://siem.example.com=/a"}, "", "", "token 1 is for a URL that --record-to"},
		"a URL without a file":       {[]string{lake}, []string{lake}, "", "", "token 1 is for a URL that --record-to does not have"},
		"a URL without a path":       {[]string{lake}, []string{lake + "="}, "", "", "or has no file"},
	} {
		got, err := Targets{To: tc.to, TokenFiles: tc.given}.tokens()
		if (err == nil) != (tc.refused == "") || err != nil && !strings.Contains(err.Error(), tc.refused) {
			t.Errorf("%s: %v, want %q", name, err, tc.refused)
		}
		if got[siem] != tc.siem || got[lake] != tc.lake {
			t.Errorf("%s: %v", name, got)
		}
		if err != nil && strings.Contains(err.Error(), "key=a") {
			t.Errorf("%s: what may be a secret is told: %v", name, err)
		}
	}
}

func TestEachReceiverGetsItsOwnToken(t *testing.T) {
	first, second, third := newSIEM(t), newSIEM(t), newSIEM(t)
	one, two := writeFile(t, "one", []byte("one")), writeFile(t, "two", []byte("two"))
	sinks, err := Targets{
		To: []string{first.URL, second.URL, third.URL}, CAFile: first.ca(t), TokenFiles: []string{second.URL + "=" + two, first.URL + "=" + one},
	}.Sinks()
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range []*siem{first, second, third} {
		if err := sinks[i].Write(t.Context(), []byte("{}")); err != nil {
			t.Fatal(err)
		}
		if got, want := r.got.Header.Get("Authorization"), []string{"Bearer one", "Bearer two", ""}[i]; got != want {
			t.Errorf("receiver %d got %q, want %q", i+1, got, want)
		}
	}
}

func TestARecordThatIsNotTakenIsAnError(t *testing.T) {
	r := newSIEM(t)
	post := postTo(t, r, Targets{CAFile: r.ca(t)})
	for status, refused := range map[int]bool{
		http.StatusFound: false, http.StatusUnauthorized: true, http.StatusRequestEntityTooLarge: true,
		http.StatusTooManyRequests: false, http.StatusInternalServerError: false,
	} {
		r.status = status
		if err := post(); err == nil || !strings.Contains(err.Error(), http.StatusText(status)) || errors.Is(err, errRefused) != refused {
			t.Errorf("%d: %v", status, err)
		}
	}
	if postTo(t, r, Targets{})() == nil {
		t.Error("a certificate of nobody is trusted")
	}
}

func TestAnErrorTellsNoAddress(t *testing.T) {
	r := newSIEM(t)
	r.Close()
	sinks, err := Targets{To: []string{r.URL + "/hook/s3cret?key=s3cret"}}.Sinks()
	if err != nil {
		t.Fatal(err)
	}
	if err := sinks[0].Write(t.Context(), []byte("{}")); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("nobody listens: %v", err)
	}
}
