// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/lapse-dev/lapse/internal/message"
)

const (
	// answerTimeout is how long a receiver may take to begin its answer.
	answerTimeout = 8 * time.Second
	// maxLater is the longest that a receiver may ask to be left alone.
	maxLater = 10 * time.Minute
	// maxAnswer bounds what is read of an answer, and maxHeader its header, in bytes.
	maxAnswer = 4 << 10
	maxHeader = 64 << 10
	// maxBody bounds what is sent, in bytes: what is longer says less.
	maxBody = 256 << 10
	// minKey and maxKey bound a key of Standard Webhooks, in bytes.
	minKey = 24
	maxKey = 64
)

// web has a message sent by HTTP.
func (e *entry) web(path string, wrong *mistakes, env Env) func(context.Context, message.Message) error {
	e.checkAddress(path, wrong)
	w := &web{entry: e, now: env.Now, client: e.client()}
	switch e.Type {
	case typeWebhook:
		if e.SecretFile == "" {
			wrong.add(path+".secretFile", "is left out; a file is allowed with the key that signs, whsec_ and base64 of %d to %d bytes", minKey, maxKey)
		}
		wrong.file(path+".secretFile", e.SecretFile, func(data []byte) string {
			if _, err := keys(data); err != nil {
				return fmt.Sprintf("a file with whsec_ and base64 of %d to %d bytes on each line", minKey, maxKey)
			}
			return ""
		})
		w.body, w.header = message.Message.CloudEvent, w.sign
	case typeSlack:
		w.body = message.Message.Slack
	case typeTeams:
		w.body = message.Message.Teams
	case typeAlertmanager:
		if e.SecretFile != "" && e.AllowHTTP {
			wrong.add(path+".secretFile", "is %q; a token is allowed without allowHTTP, which anybody on the way could read", e.SecretFile)
		}
		wrong.file(path+".secretFile", e.SecretFile, func(data []byte) string {
			if len(bytes.TrimSpace(data)) == 0 {
				return "a file with a bearer token"
			}
			return ""
		})
		w.body, w.header, w.suffix = message.Message.Alert, w.bearer, "/api/v2/alerts"
	}
	return w.send
}

func (e *entry) checkAddress(path string, wrong *mistakes) {
	if (e.URL == "") == (e.URLFile == "") {
		wrong.add(path, "has url and urlFile, or neither; one of them is allowed")
		return
	}
	wrong.file(path+".urlFile", e.URLFile, func(data []byte) string {
		if allowed := e.addressOf(strings.TrimSpace(string(data))); allowed != "" {
			return "a file with " + allowed
		}
		return ""
	})
	if e.URL == "" {
		return
	}
	if allowed := e.addressOf(e.URL); allowed != "" {
		shown := "no URL" // which may have a password in it
		if u, err := url.Parse(e.URL); err == nil && u.Host != "" {
			shown = u.Scheme + "://" + u.Hostname()
		}
		wrong.add(path+".url", "is %s; %s is allowed", shown, allowed)
	}
}

// tls trusts the certificates of the file, or those of the system.
func (e *entry) tls() *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if e.CAFile == "" {
		return config
	}
	config.RootCAs = x509.NewCertPool() // what is wrong with the file is said where it is checked, and nobody is trusted
	if pem, err := os.ReadFile(e.CAFile); err == nil {
		config.RootCAs.AppendCertsFromPEM(pem)
	}
	return config
}

func (e *entry) client() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig, transport.MaxResponseHeaderBytes, transport.ResponseHeaderTimeout = e.tls(), maxHeader, answerTimeout
	transport.MaxIdleConnsPerHost = 1
	// A message is for the receiver alone, and so is the token.
	refuse := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &http.Client{Transport: transport, CheckRedirect: refuse}
}

// web sends messages of one type.
type web struct {
	*entry
	client *http.Client
	now    func() time.Time
	body   func(message.Message) ([]byte, error)
	// header adds what is secret; nil adds nothing.
	header func(http.Header, message.Message, []byte) error
	// suffix of the address.
	suffix string
}

// address is read for each message, since it may be renewed.
func (w *web) address() (string, error) {
	address := w.URL
	if w.URLFile != "" {
		data, err := os.ReadFile(w.URLFile)
		if err != nil {
			return "", err
		}
		if address = strings.TrimSpace(string(data)); w.addressOf(address) != "" {
			return "", fmt.Errorf("%s has no address any more such as is allowed", w.URLFile)
		}
	}
	return strings.TrimSuffix(address, "/") + w.suffix, nil
}

func (w *web) send(ctx context.Context, m message.Message) error {
	body, err := w.body(m)
	if err == nil && len(body) > maxBody {
		less := m.Less("it was too long")
		body, err = w.body(less[len(less)-1])
	}
	if err != nil {
		return err
	}
	address, err := w.address()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return WithoutAddress(err)
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("User-Agent", "lapse")
	if w.header != nil {
		if err := w.header(req.Header, m, body); err != nil {
			return err
		}
	}
	res, err := w.client.Do(req)
	if err != nil {
		return WithoutAddress(err)
	}
	_, _ = io.CopyN(io.Discard, res.Body, maxAnswer) // so that the connection is used again
	_ = res.Body.Close()
	return w.judge(res)
}

// WithoutAddress is an error of net/http without the address, in which a secret may be.
func WithoutAddress(err error) error {
	if with, found := errors.AsType[*url.Error](err); found {
		return with.Err
	}
	return err
}

// later are answers that ask to come again.
var later = []int{http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests}

func (w *web) judge(res *http.Response) error {
	again := slices.Contains(later, res.StatusCode)
	switch {
	case res.StatusCode >= 200 && res.StatusCode <= 299:
		return nil
	case again || res.StatusCode == http.StatusServiceUnavailable:
		if after := w.retryAfter(res.Header.Get("Retry-After")); after > 0 {
			return &Later{res.Status, after}
		}
	case res.StatusCode >= 400 && res.StatusCode <= 499:
		return fmt.Errorf("%w: it answered %s", ErrRefused, res.Status)
	}
	return fmt.Errorf("it answered %s", res.Status)
}

// retryAfter is 0 if the header says nothing; see RFC 9110, 10.2.3.
func (w *web) retryAfter(header string) time.Duration {
	if seconds, err := strconv.Atoi(header); err == nil {
		return min(time.Duration(max(seconds, 0))*time.Second, maxLater)
	}
	if at, err := http.ParseTime(header); err == nil {
		return min(max(at.Sub(w.now()), 0), maxLater)
	}
	return 0
}

func (w *web) bearer(h http.Header, _ message.Message, _ []byte) error {
	if w.SecretFile == "" {
		return nil
	}
	token, err := os.ReadFile(w.SecretFile)
	if err != nil {
		return err
	}
	h.Set("Authorization", "Bearer "+string(bytes.TrimSpace(token)))
	return nil
}

// sign by each key, as Standard Webhooks has it while a key is replaced.
func (w *web) sign(h http.Header, m message.Message, body []byte) error {
	data, err := os.ReadFile(w.SecretFile)
	if err != nil {
		return err
	}
	signers, err := keys(data)
	if err != nil {
		return fmt.Errorf("%s: %w", w.SecretFile, err)
	}
	now, signatures := w.now(), make([]string, 0, len(signers))
	for _, signer := range signers {
		signature, err := signer.Sign(m.ID, now, body)
		if err != nil {
			return err
		}
		signatures = append(signatures, signature)
	}
	h.Set("Content-Type", "application/cloudevents+json; charset=utf-8")
	h.Set(standardwebhooks.HeaderWebhookID, m.ID)
	h.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	h.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	return nil
}

// keys are one on each line.
func keys(data []byte) (out []*standardwebhooks.Webhook, err error) {
	for line := range strings.FieldsSeq(string(data)) {
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(line, "whsec_"))
		if err != nil || !strings.HasPrefix(line, "whsec_") || len(raw) < minKey || len(raw) > maxKey {
			return nil, errors.New("it has something else than keys of Standard Webhooks")
		}
		signer, err := standardwebhooks.NewWebhookRaw(raw)
		if err != nil {
			return nil, err
		}
		out = append(out, signer)
	}
	if len(out) == 0 {
		return nil, errors.New("it has no key of Standard Webhooks")
	}
	return out, nil
}
