// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"bufio"
	"cmp"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
	"net"
	"net/http/httptest"
	netmail "net/mail"
	"slices"
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
	// answers by command, or line; what is not among them is ok.
	answers map[string]string
	// hangsUp right after a mail was taken.
	hangsUp bool
	// begins with TLS.
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
	s := &mailServer{listener: listener, ca: ca, done: make(chan struct{}, 100), answers: map[string]string{
		"EHLO": "250-mail.example.com\r\n250-AUTH PLAIN\r\n250 STARTTLS", "STARTTLS": "220 go", "AUTH": "235 welcome",
		"DATA": "354 go", "QUIT": "221 bye",
	}}
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

// serve answers a client until it quits.
func (s *mailServer) serve(connection net.Conn) {
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
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		say(cmp.Or(s.answers[line], s.answers[verb], "250 ok"))
		switch verb {
		case "STARTTLS":
			connection = tls.Server(connection, s.tls)
			in = bufio.NewReader(connection)
		case "DATA":
			s.mails = append(s.mails, mailFrom(in))
			say("250 taken")
			if s.hangsUp {
				return
			}
		case "QUIT":
			return
		}
	}
}

// mailFrom reads up to the line that ends a mail.
func mailFrom(in *bufio.Reader) string {
	var mail strings.Builder
	for line, err := in.ReadString('\n'); err == nil && line != ".\r\n"; line, err = in.ReadString('\n') {
		mail.WriteString(strings.TrimPrefix(line, "."))
	}
	return mail.String()
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

// sent has a message sent, and is the mail that came of it.
func (s *mailServer) sent(t *testing.T, r *Receiver, m message.Message) *netmail.Message {
	t.Helper()
	if err := r.Send(t.Context(), m); err != nil {
		t.Fatalf("%v: %.200q", err, m.Body())
	}
	<-s.done
	got, err := netmail.ReadMessage(strings.NewReader(s.mails[len(s.mails)-1]))
	if err != nil {
		t.Fatalf("%v: %.200q", err, m.Body())
	}
	return got
}

func TestAMailIsSent(t *testing.T) {
	s := newMailServer(t)
	got := s.sent(t, s.receiver(t, ", caFile: "+s.ca+", username: lapse, secretFile: "+file(t, "password\n")), one())
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
		"no TLS is offered":   {func(s *mailServer) string { s.answers["EHLO"] = "250 ok"; return ", caFile: " + s.ca }, "STARTTLS", false},
		"a false certificate": {func(*mailServer) string { return "" }, "certificate", false},
		"refused for good":    {func(s *mailServer) string { s.answers["RCPT"] = "550 no such user"; return ", caFile: " + s.ca }, "550", true},
		"refused for now":     {func(s *mailServer) string { s.answers["RCPT"] = "451 later"; return ", caFile: " + s.ca }, "451", false},
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

func TestAnAddressThatIsNotTakenKeepsTheMailFromNoOther(t *testing.T) {
	for name, tc := range map[string]struct {
		answer string
		partly bool
	}{
		"refused for good": {"550 unknown", true},
		"refused for now":  {"451 later", false},
	} {
		s := newMailServer(t)
		r := s.receiver(t, ", caFile: "+s.ca)
		s.answers["RCPT TO:<sre@example.com>"] = tc.answer
		err := r.Send(t.Context(), one())
		for range 3 { // to both, and to each
			<-s.done
		}
		_, partly := errors.AsType[*Partly](err)
		if !strings.Contains(fmt.Sprint(err), tc.answer[:3]) || partly != tc.partly || errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
		if len(s.mails) != 1 || strings.Contains(s.mails[0], "sre@") {
			t.Errorf("%s: mails are %q", name, s.mails)
		}
		delete(s.answers, "RCPT TO:<sre@example.com>")
		if to := s.sent(t, r, one()).Header.Get("To"); len(s.mails) != 2 || strings.Contains(to, "lead@") {
			t.Errorf("%s, and tried again: mails are %q", name, s.mails)
		}
		next := one()
		next.ID += "-next"
		if to := s.sent(t, r, next).Header.Get("To"); len(s.mails) != 3 || !strings.Contains(to, "lead@") {
			t.Errorf("%s, and the next message: mails are %q", name, s.mails)
		}
	}
}

func TestHostileStringsReachNoHeaderOfAMail(t *testing.T) {
	s := newMailServer(t)
	r := s.receiver(t, ", caFile: "+s.ca)
	for i, written := range hostile.Strings(t) {
		if i%10 != 0 && !strings.ContainsAny(written, "\r\n") {
			continue // the body is tried with all of them in internal/message
		}
		m := one()
		m.Facts = []message.Fact{{Label: "Why", Value: written}, {Label: "Next", Value: "fact"}}
		if h := s.sent(t, r, m).Header; len(h) > 9 || h.Get("Bcc") != "" || h.Get("Subject") != m.Subject() {
			t.Errorf("%.60q: %v", written, h)
		}
	}
	to := slices.DeleteFunc(s.heard, func(line string) bool { return !strings.HasPrefix(line, "RCPT") })
	slices.Sort(to)
	if to = slices.Compact(to); !slices.Equal(to, []string{"RCPT TO:<lead@example.com>", "RCPT TO:<sre@example.com>"}) {
		t.Errorf("mails went to %q", to)
	}
}
