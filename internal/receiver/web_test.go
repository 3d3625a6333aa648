// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/lapse-dev/lapse/internal/message"
)

// server answers as it is told, and keeps the last that it got.
type server struct {
	*httptest.Server
	answer func(http.ResponseWriter)
	got    *http.Request
	body   []byte
	times  int
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{answer: func(w http.ResponseWriter) { w.WriteHeader(http.StatusAccepted) }}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, got *http.Request) {
		s.got, s.times = got, s.times+1
		s.body, _ = io.ReadAll(got.Body)
		s.answer(w)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) ca(t *testing.T) string {
	t.Helper()
	return file(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
}

// to is the receiver of a type that sends to an address.
func to(t *testing.T, kind, address, more string) *Receiver {
	t.Helper()
	events := "[asked]"
	if kind == typeAlertmanager {
		events = "[stillWaiting]"
	}
	if kind == typeWebhook {
		more += ", secretFile: " + file(t, key)
	}
	receivers, err := Parse([]byte(fmt.Sprintf("receivers: [{name: a, type: %s, url: %q, events: %s%s}]", kind, address, events, more)), env())
	if err != nil {
		t.Fatal(err)
	}
	return receivers[0]
}

func one() message.Message {
	m := message.Guard("/clusters/c", "policy x is gone", start)
	m.Link = "https://lapse.example.com/x"
	return m
}

var webTypes = []string{typeWebhook, typeSlack, typeTeams, typeAlertmanager}

// hooked is a server whose webhook, with two keys in a file, was told one message.
func hooked(t *testing.T) (s *server, r *Receiver, keys string) {
	t.Helper()
	s = newServer(t)
	keys = file(t, otherKey+"\n"+key+"\n")
	receivers, err := Parse([]byte(fmt.Sprintf(
		"receivers: [{name: a, type: webhook, url: %q, events: [asked], caFile: %s, secretFile: %s}]", s.URL, s.ca(t), keys)), env())
	if err != nil {
		t.Fatal(err)
	}
	if err := receivers[0].Send(t.Context(), one()); err != nil {
		t.Fatal(err)
	}
	return s, receivers[0], keys
}

const otherKey = "whsec_c2Vjb25kIGtleSBvZiAyNCBieXRlcyAh"

func TestAWebhookIsSignedByEachKey(t *testing.T) {
	s, _, _ := hooked(t)
	for _, key := range []string{key, otherKey} {
		verifier, err := standardwebhooks.NewWebhook(key)
		if err != nil {
			t.Fatal(err)
		}
		if err := verifier.VerifyIgnoringTimestamp(s.body, s.got.Header); err != nil {
			t.Error(err)
		}
		if verifier.VerifyIgnoringTimestamp(append(s.body, ' '), s.got.Header) == nil {
			t.Error("another text has the same signature")
		}
	}
	if got := s.got.Header.Get(standardwebhooks.HeaderWebhookTimestamp); got != fmt.Sprint(start.Unix()) {
		t.Errorf("signed at %s", got)
	}
}

func TestAWebhookGetsACloudEvent(t *testing.T) {
	s, _, _ := hooked(t)
	e := cloudevents.NewEvent()
	if err := json.Unmarshal(s.body, &e); err != nil || e.Validate() != nil || e.ID() != one().ID ||
		e.ID() != s.got.Header.Get(standardwebhooks.HeaderWebhookID) {
		t.Errorf("%v, %v: %s", err, e.Validate(), s.body)
	}
	if kind := s.got.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/cloudevents+json") {
		t.Error(kind)
	}
}

func TestAWebhookWithoutAKeyGetsNothing(t *testing.T) {
	s, r, keys := hooked(t)
	if err := os.WriteFile(keys, []byte("gone"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Send(t.Context(), one()); err == nil || strings.Contains(err.Error(), "gone") || s.times != 1 {
		t.Errorf("%v, after %d requests", err, s.times)
	}
}

func TestWhatAReceiverAnswers(t *testing.T) {
	for _, kind := range webTypes {
		s := newServer(t)
		r := to(t, kind, s.URL+"/SECRET", ", caFile: "+s.ca(t))
		for name, tc := range map[string]struct {
			answer  func(http.ResponseWriter)
			want    string
			refused bool
			after   time.Duration
		}{
			"200":                    {status(200, ""), "", false, 0},
			"500":                    {status(500, ""), "500", false, 0},
			"400":                    {status(400, ""), "400", true, 0},
			"302":                    {redirect(s.URL, 302), "302", false, 0},
			"308":                    {redirect(s.URL, 308), "308", false, 0},
			"408":                    {status(408, ""), "408", false, 0},
			"425":                    {status(425, ""), "425", false, 0},
			"429":                    {status(429, ""), "429", false, 0},
			"429 and later":          {status(429, "7"), "429", false, 7 * time.Second},
			"429 and at a date":      {status(429, start.Add(90*time.Second).Format(http.TimeFormat)), "429", false, 90 * time.Second},
			"429 and next year":      {status(429, "99999999"), "429", false, maxLater},
			"429 and before":         {status(429, "-5"), "429", false, 0},
			"503 and later":          {status(503, "3"), "503", false, 3 * time.Second},
			"closes in the header":   {hijack("HTTP/1.1 200 OK\r\nContent-"), "malformed", false, 0},
			"says nothing":           {hijack(""), "EOF", false, 0},
			"no HTTP":                {hijack("220 smtp.example.com ESMTP\r\n\r\n"), "malformed", false, 0},
			"closes in the body":     {hijack("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok"), "", false, 0},
			"an answer without end":  {endless, "", false, 0},
			"a header of a megabyte": {hijack("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n"), "header", false, 0},
			"500 closes in the body": {hijack("HTTP/1.1 500 Oh\r\nContent-Length: 100\r\n\r\nno"), "500", false, 0},
		} {
			t.Run(kind+", "+name, func(t *testing.T) {
				s.answer, s.times = tc.answer, 0
				mustEnd(t, r.Send(t.Context(), one()), tc.want, tc.refused, tc.after)
				if s.times != 1 {
					t.Errorf("%d requests", s.times)
				}
			})
		}
	}
}

// mustEnd fails unless an attempt came to what is wanted; an empty text means that the message was taken.
func mustEnd(t *testing.T, err error, text string, refused bool, after time.Duration) {
	t.Helper()
	later, asksForLater := errors.AsType[*Later](err)
	switch {
	case (err == nil) != (text == ""), err != nil && !strings.Contains(err.Error(), text):
		t.Errorf("%v, want %q", err, text)
	case errors.Is(err, ErrRefused) != refused:
		t.Errorf("refused is %v: %v", !refused, err)
	case asksForLater != (after > 0), asksForLater && later.After != after:
		t.Errorf("%v, want %s", err, after)
	case err != nil && strings.Contains(err.Error(), "SECRET"):
		t.Errorf("the address is told: %v", err)
	}
}

func status(code int, retryAfter string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		w.WriteHeader(code)
	}
}

func redirect(where string, code int) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Location", where)
		w.WriteHeader(code)
	}
}

// hijack answers with these bytes, and closes.
func hijack(bytes string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		connection, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(connection, bytes)
		_ = connection.Close()
	}
}

func endless(w http.ResponseWriter) {
	for {
		if _, err := io.WriteString(w, strings.Repeat("x", 1<<16)); err != nil {
			return
		}
	}
}

func TestASlowReceiverIsLeftWhenTheAttemptIsOver(t *testing.T) {
	for _, kind := range webTypes {
		s := newServer(t)
		r := to(t, kind, s.URL, ", caFile: "+s.ca(t))
		ctx, cancel := context.WithCancel(t.Context())
		hang := make(chan struct{})
		s.answer = func(http.ResponseWriter) {
			cancel()
			<-hang
		}
		if err := r.Send(ctx, one()); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", kind, err)
		}
		close(hang)
	}
}

func TestAReceiverWithAFalseCertificateOrNoneGetsNothing(t *testing.T) {
	for _, kind := range webTypes {
		s := newServer(t)
		err := to(t, kind, s.URL+"/SECRET", "").Send(t.Context(), one())
		if err == nil || s.times > 0 || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v, after %d requests", kind, err, s.times)
		}
		away := newServer(t)
		r := to(t, kind, away.URL+"/SECRET", ", caFile: "+away.ca(t))
		away.Close()
		if err := r.Send(t.Context(), one()); err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestAnAddressAndATokenAreReadForEachMessage(t *testing.T) {
	s := newServer(t)
	address, token := file(t, s.URL+"\n"), file(t, "first\n")
	receivers, err := Parse([]byte(fmt.Sprintf(
		"receivers: [{name: a, type: alertmanager, urlFile: %s, secretFile: %s, caFile: %s, events: [stillWaiting]}]",
		address, token, s.ca(t))), env())
	if err != nil {
		t.Fatal(err)
	}
	err = receivers[0].Send(t.Context(), one())
	if err != nil || s.got.Header.Get("Authorization") != "Bearer first" || s.got.URL.Path != "/api/v2/alerts" {
		t.Errorf("%v, %v", err, s.got)
	}
	if err := errors.Join(os.WriteFile(token, []byte("second"), 0o600), os.WriteFile(address, []byte(s.URL+"/prefix/"), 0o600)); err != nil {
		t.Fatal(err)
	}
	err = receivers[0].Send(t.Context(), one())
	if err != nil || s.got.Header.Get("Authorization") != "Bearer second" || s.got.URL.Path != "/prefix/api/v2/alerts" {
		t.Errorf("%v, %v", err, s.got)
	}
	if err := os.WriteFile(address, []byte("http://SECRET.example.com"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := receivers[0].Send(t.Context(), one()); err == nil || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("a bad address: %v", err)
	}
}

func TestAReceiverIsToldWhatTheClusterIsCalled(t *testing.T) {
	for _, name := range []string{"", "prod-eu", strings.Repeat("x", 63)} {
		s, first := newServer(t), ""
		if name != "" {
			first = "cluster: " + name + "\n"
		}
		receivers, err := Parse([]byte(fmt.Sprintf(
			"%sreceivers: [{name: a, type: slack, url: %q, events: [guardBroken], caFile: %s}]", first, s.URL, s.ca(t))), env())
		if err != nil {
			t.Fatal(err)
		}
		if err := receivers[0].Send(t.Context(), one()); err != nil {
			t.Fatal(err)
		}
		if body := string(s.body); strings.Contains(body, `"Cluster\n`+name+`"`) != (name != "") {
			t.Errorf("%q: %s", name, body)
		}
	}
}

func TestWhatIsTooLongSaysLess(t *testing.T) {
	s := newServer(t)
	m := one()
	m.Data.Problem = strings.Repeat("x", maxBody)
	err := to(t, typeWebhook, s.URL, ", caFile: "+s.ca(t)).Send(t.Context(), m)
	if err != nil || len(s.body) > maxBody || !strings.Contains(string(s.body), "too long") {
		t.Errorf("%v: %d bytes", err, len(s.body))
	}
}
