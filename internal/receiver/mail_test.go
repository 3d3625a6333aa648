// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"bufio"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
	"net"
	"net/http/httptest"
	netmail "net/mail"
	"strings"
	"testing"

	"github.com/lapse-dev/lapse/internal/message"
	"github.com/lapse-dev/lapse/test/hostile"
)

// mailServer speaks as much SMTP as is needed, with STARTTLS, and keeps what it got.
type mailServer struct {
	listener net.Listener
	tls      *tls.Config
	ca       string
	// startTLS is offered, and refuse is how the recipient is answered; empty takes him.
	startTLS bool
	refuse   string
	// hangsUp right after a mail was taken.
	hangsUp bool
	// begins with TLS, and offers no STARTTLS.
	begins bool
	// heard are all lines, and mails what came as data.
	heard []string
	mails []string
	done  chan struct{}
}

func newMailServer(t *testing.T) *mailServer {
	t.Helper()
	certified := httptest.NewTLSServer(nil) // which has a certificate for example.com and 127.0.0.1
	certified.Close()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ca := file(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certified.Certificate().Raw})))
	s := &mailServer{listener: listener, ca: ca, startTLS: true, done: make(chan struct{}, 100)}
	s.tls = &tls.Config{Certificates: certified.TLS.Certificates, MinVersion: tls.VersionTLS12}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			s.serve(connection)
			s.done <- struct{}{}
		}
	}()
	return s
}

func (s *mailServer) serve(connection net.Conn) { //nolint:gocyclo // one check after the other
	defer func() { _ = connection.Close() }()
	if s.begins {
		connection = tls.Server(connection, s.tls)
	}
	in := bufio.NewReader(connection)
	say := func(line string) { _, _ = io.WriteString(connection, line+"\r\n") }
	say("220 mail.example.com ESMTP")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		s.heard = append(s.heard, line)
		switch verb, _, _ := strings.Cut(strings.ToUpper(line), " "); {
		case verb == "EHLO" && s.begins:
			say("250-mail.example.com\r\n250 AUTH PLAIN")
		case verb == "EHLO" && s.startTLS:
			say("250-mail.example.com\r\n250-AUTH PLAIN\r\n250 STARTTLS")
		case verb == "EHLO":
			say("250 mail.example.com")
		case verb == "STARTTLS":
			say("220 go")
			secure := tls.Server(connection, s.tls)
			connection, in = secure, bufio.NewReader(secure)
		case verb == "AUTH":
			say("235 welcome")
		case verb == "RCPT" && s.refuse != "":
			say(s.refuse)
		case verb == "DATA":
			say("354 go")
			var mail strings.Builder
			for line, err := in.ReadString('\n'); err == nil && line != ".\r\n"; line, err = in.ReadString('\n') {
				mail.WriteString(strings.TrimPrefix(line, "."))
			}
			s.mails = append(s.mails, mail.String())
			say("250 taken")
			if s.hangsUp {
				return
			}
		case verb == "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

func (s *mailServer) receiver(t *testing.T, more string) *Receiver {
	t.Helper()
	receivers, err := Parse([]byte(fmt.Sprintf(
		"receivers: [{name: a, type: mail, server: %q, from: lapse@example.com, to: [sre@example.com, lead@example.com], events: [asked]%s}]",
		s.listener.Addr(), more)), env())
	if err != nil {
		t.Fatal(err)
	}
	return receivers[0]
}

func TestAMailIsSent(t *testing.T) {
	s := newMailServer(t)
	if err := s.receiver(t, ", caFile: "+s.ca+", username: lapse, secretFile: "+file(t, "password\n")).Send(t.Context(), one()); err != nil {
		t.Fatal(err)
	}
	<-s.done
	got, err := netmail.ReadMessage(strings.NewReader(s.mails[0]))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(quotedprintable.NewReader(got.Body))
	if want := strings.ReplaceAll(one().Body(), "\n", "\r\n"); err != nil || string(body) != want {
		t.Errorf("%v: %q, want %q", err, body, want)
	}
	if got.Header.Get("Subject") != one().Subject() || got.Header.Get("Auto-Submitted") == "" ||
		!strings.HasPrefix(got.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("%v", got.Header)
	}
}

func TestAMailThatIsNotTaken(t *testing.T) {
	for name, tc := range map[string]struct {
		change  func(*mailServer) (more string)
		want    string
		refused bool
	}{
		"no TLS is offered":   {func(s *mailServer) string { s.startTLS = false; return ", caFile: " + s.ca }, "STARTTLS", false},
		"a false certificate": {func(*mailServer) string { return "" }, "certificate", false},
		"refused for good":    {func(s *mailServer) string { s.refuse = "550 no such user"; return ", caFile: " + s.ca }, "550", true},
		"refused for now":     {func(s *mailServer) string { s.refuse = "451 later"; return ", caFile: " + s.ca }, "451", false},
		"away":                {func(s *mailServer) string { _ = s.listener.Close(); return ", caFile: " + s.ca }, "refused", false},
	} {
		s := newMailServer(t)
		more := tc.change(s)
		err := s.receiver(t, more).Send(t.Context(), one())
		if err == nil || !strings.Contains(err.Error(), tc.want) || errors.Is(err, ErrRefused) != tc.refused || len(s.mails) > 0 {
			t.Errorf("%s: %v; %d mails", name, err, len(s.mails))
		}
	}
}

func TestHostileStringsReachNoHeaderOfAMail(t *testing.T) { //nolint:gocyclo // one check after the other
	s := newMailServer(t)
	r := s.receiver(t, ", caFile: "+s.ca)
	for i, written := range hostile.Strings(t) {
		if i%10 != 0 && !strings.ContainsAny(written, "\r\n") {
			continue // the body is tried with all of them in internal/message
		}
		m := one()
		m.Facts = []message.Fact{{Label: "Why", Value: written}, {Label: "Next", Value: "fact"}}
		if err := r.Send(t.Context(), m); err != nil {
			t.Fatalf("%.60q: %v", written, err)
		}
		<-s.done
		got, err := netmail.ReadMessage(strings.NewReader(s.mails[len(s.mails)-1]))
		if err != nil {
			t.Fatalf("%.60q: %v", written, err)
		}
		if len(got.Header) > 9 || got.Header.Get("Bcc") != "" || got.Header.Get("Subject") != m.Subject() {
			t.Errorf("%.60q: %v", written, got.Header)
		}
	}
	for _, line := range s.heard {
		if strings.HasPrefix(line, "RCPT") && line != "RCPT TO:<sre@example.com>" && line != "RCPT TO:<lead@example.com>" {
			t.Errorf("a mail went to %s", line)
		}
	}
}
