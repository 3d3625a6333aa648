// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package telling

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/DeRuina/timberjack"
	"golang.org/x/mod/sumdb/note"

	"github.com/lapse-dev/lapse/internal/receiver"
)

// Targets are where records go to, as they are named on the command line.
type Targets struct {
	// To are "stdout", "file:" with an absolute path, or an https URL. A target of http is
	// taken on this machine only.
	To []string
	// CAFile has the certificates that https targets are trusted by, in place of those of the
	// system.
	CAFile string
	// TokenFiles have the bearer tokens that URLs get: PATH, for the one URL without a token of
	// its own, or URL=PATH. They are read for each record, since they may be renewed.
	TokenFiles []string
	// KeyFile has the key by which the last record is signed, as kubectl lapse audit key makes
	// it; empty signs nothing.
	KeyFile string
}

// Signer is nil if there is no key.
func (t Targets) Signer() (note.Signer, error) {
	if t.KeyFile == "" {
		return nil, nil
	}
	key, err := os.ReadFile(t.KeyFile)
	if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(strings.TrimSpace(string(key)))
	if err != nil {
		return nil, fmt.Errorf("%s has no key such as kubectl lapse audit key makes: %w", t.KeyFile, err)
	}
	return signer, nil
}

// maxFile is the size, in MB, at which a file is closed, packed and put aside. All are kept.
const maxFile = 100

// Sinks of all targets.
func (t Targets) Sinks() ([]Sink, error) {
	tokens, err := t.tokens()
	if err != nil {
		return nil, err
	}
	var sinks []Sink
	for i, to := range t.To {
		name := nameOf(to)
		if slices.ContainsFunc(sinks, func(s Sink) bool { return s.Name == name }) {
			name = fmt.Sprintf("%s-%d", name, i+1)
		}
		write, err := t.write(to, tokens[to])
		if err != nil {
			return nil, fmt.Errorf("records cannot go to target %d, of kind %s: %w", i+1, kindOf(to), err)
		}
		sinks = append(sinks, Sink{Name: name, Target: shown(to), Write: write})
	}
	return sinks, nil
}

// shown is what of a target may be in a log: a URL may have a secret in its path or query.
func shown(target string) string {
	if u, err := url.Parse(target); err == nil && u.Host != "" {
		return u.Scheme + "://" + u.Host
	}
	return target
}

func kindOf(target string) string { return strings.SplitN(target, ":", 2)[0] }

// nameOf a target is of its kind, and of its URL's hash if it is one: a checkpoint must be found
// again, and a URL may not be part of its name. A file is not named by its path, which each Pod
// has one of.
func nameOf(target string) string {
	kind := kindOf(target)
	if kind == "stdout" || kind == "file" {
		return kind
	}
	sum := sha256.Sum256([]byte(target))
	return kind + "-" + hex.EncodeToString(sum[:4])
}

// write is how a record gets to a target: to a URL with the token in the file, if there is one.
func (t Targets) write(to, tokenFile string) (func(context.Context, []byte) error, error) {
	if to == "stdout" {
		return lines(os.Stdout, func() bool { return false }), nil
	}
	if path, ok := strings.CutPrefix(to, "file:"); ok {
		if !filepath.IsAbs(path) {
			return nil, errors.New("the path of a file has to be absolute, such as file:/var/log/lapse/records.jsonl")
		}
		return lines(&timberjack.Logger{Filename: path, MaxSize: maxFile, Compression: "gzip", FileMode: 0o600}, func() bool { return unfinished(path) }), nil
	}
	target, err := url.Parse(to)
	switch {
	case err != nil:
		return nil, errors.New("it is no URL") // which may have a password in it
	case target.Host == "" || !safe(target):
		return nil, errors.New("it has to be stdout, file:/PATH or an https URL; http is taken for 127.0.0.1, ::1 and localhost only")
	case target.User != nil:
		return nil, errors.New("a URL may have no password in it; give a token with --record-token-file")
	}
	client, err := t.client()
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, line []byte) error { return post(ctx, client, to, tokenFile, line) }, nil
}

// safe says whether nobody on the way can read what is sent.
func safe(target *url.URL) bool {
	local := slices.Contains([]string{"127.0.0.1", "::1", "localhost"}, target.Hostname())
	return target.Scheme == "https" || target.Scheme == "http" && local
}

// unfinished says whether a file ends in the middle of a line: the disk was full, or an operator
// was killed.
func unfinished(path string) bool {
	data, err := os.Open(path)
	if err != nil {
		return false // there is none
	}
	defer data.Close()
	last := make([]byte, 1)
	if _, err := data.Seek(-1, io.SeekEnd); err != nil {
		return false // it is empty
	}
	_, err = data.Read(last)
	return err == nil && last[0] != '\n'
}

// lines are written whole. After one that broke off, the next begins on a new line: what is
// left of the first is no record. begun says whether that happened before, and is asked when
// there is something to write.
//
// A file system may hang, such as that of a network, and nothing interrupts it: such a write is
// left alone when its context ends, and nothing else is written until it comes back.
func lines(w io.Writer, begun func() bool) func(context.Context, []byte) error {
	asked, broken := false, false
	write := func(line []byte) error {
		if !asked {
			asked, broken = true, begun()
		}
		whole := append(bytes.Clone(line), '\n')
		if broken {
			whole = append([]byte{'\n'}, whole...)
		}
		n, err := w.Write(whole)
		broken = err != nil && (broken || n > 0)
		return err
	}
	turn := make(chan struct{}, 1)
	return func(ctx context.Context, line []byte) error {
		select {
		case turn <- struct{}{}:
		case <-ctx.Done():
			return fmt.Errorf("a write before this one hangs: %w", ctx.Err())
		}
		written := make(chan error, 1)
		go func() {
			written <- write(line)
			<-turn
		}()
		select {
		case err := <-written:
			return err
		case <-ctx.Done():
			return fmt.Errorf("the write hangs: %w", ctx.Err())
		}
	}
}

func (t Targets) client() (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s has no certificates", t.CAFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	// A record is for the target alone, and so is the token.
	refuse := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &http.Client{Transport: transport, CheckRedirect: refuse}, nil
}

// post sends one CloudEvent in structured mode, with the token that is in a file now.
func post(ctx context.Context, client *http.Client, to, tokenFile string, line []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(line))
	if err != nil {
		return receiver.WithoutAddress(err)
	}
	req.Header.Set("Content-Type", "application/cloudevents+json; charset=utf-8")
	if tokenFile != "" {
		token, err := os.ReadFile(tokenFile)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+string(bytes.TrimSpace(token)))
	}
	res, err := client.Do(req)
	if err != nil {
		return receiver.WithoutAddress(err)
	}
	_, _ = io.CopyN(io.Discard, res.Body, 4096) // so that the connection is used again
	_ = res.Body.Close()
	switch {
	case res.StatusCode >= 200 && res.StatusCode <= 299:
		return nil
	case res.StatusCode >= 400 && res.StatusCode <= 499 && !slices.Contains(later, res.StatusCode):
		return fmt.Errorf("%w: it answered %s", errRefused, res.Status)
	}
	return fmt.Errorf("it answered %s", res.Status)
}

// later are answers that ask to come again.
var later = []int{http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests}
