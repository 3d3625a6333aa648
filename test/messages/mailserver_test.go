// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package messages

import (
	"context"
	"crypto/tls"
	"io"
	"maps"
	"mime/quotedprintable"
	"net"
	netmail "net/mail"
	"slices"
	"strings"
	"sync"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// mail is one that was taken, with the addresses of its envelope.
type mail struct {
	From   string
	To     []string
	Header netmail.Header
	Body   string
}

// mailServer takes mails over STARTTLS from who knows the password.
type mailServer struct {
	address string
	mu      sync.Mutex
	taken   []mail
}

func startMailServer(certificate, key string) *mailServer {
	GinkgoHelper()
	pair, err := tls.LoadX509KeyPair(certificate, key)
	Expect(err).NotTo(HaveOccurred())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	Expect(err).NotTo(HaveOccurred())
	m := &mailServer{address: listener.Addr().String()}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{server: m}, nil }))
	server.Domain, server.TLSConfig = "mail.example.com", &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	go func() { _ = server.Serve(listener) }() // until it is closed
	DeferCleanup(server.Close)
	return m
}

// session is a conversation with a client. The library offers AUTH after STARTTLS alone.
type session struct {
	server *mailServer
	known  bool
	mail   mail
}

// AuthMechanisms are those offered.
func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

// Auth lets in who has the password.
func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, username, given string) error {
		if username != "lapse" || given != password {
			return smtp.ErrAuthFailed
		}
		s.known = true
		return nil
	}), nil
}

// Mail begins one.
func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if !s.known {
		return smtp.ErrAuthRequired
	}
	s.mail.From = from
	return nil
}

// Rcpt adds an address.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.mail.To = append(s.mail.To, to)
	return nil
}

// Data takes the mail if it can be read.
func (s *session) Data(r io.Reader) error {
	parsed, err := netmail.ReadMessage(r)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(quotedprintable.NewReader(parsed.Body))
	if err != nil {
		return err
	}
	s.mail.Header, s.mail.Body = parsed.Header, strings.ReplaceAll(string(text), "\r\n", "\n")
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.server.taken = append(s.server.taken, s.mail)
	return nil
}

// Reset forgets a mail.
func (s *session) Reset() { s.mail = mail{} }

// Logout has nothing to do.
func (*session) Logout() error { return nil }

// all mails that were taken.
func (m *mailServer) all() []mail {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.taken)
}

// about are the mails about a request, by their subject.
func (m *mailServer) about(request string) map[string]mail {
	found := map[string]mail{}
	for _, one := range m.all() {
		if strings.Contains(one.Body, "\nRequest: "+ns+"/"+request+"\n") {
			found[one.Header.Get("Subject")] = one
		}
	}
	return found
}

// comes waits for a mail about a request. It goes to whom the file names, and to nobody else.
func (m *mailServer) comes(ctx context.Context, request, subject string) mail {
	GinkgoHelper()
	subject = "[Lapse prod-eu] " + subject
	Eventually(m.about).WithContext(ctx).WithArguments(request).Should(HaveKey(subject), request)
	one := m.about(request)[subject]
	from, first, second := "lapse@example.com", "security@example.com", "sre@example.com"
	Expect(one.From).To(Equal(from), request)
	Expect(one.To).To(Equal([]string{first, second}), request)
	Expect(one.Header.AddressList("From")).To(HaveExactElements(HaveField("Address", from)), request)
	Expect(one.Header.AddressList("To")).To(HaveExactElements(HaveField("Address", first), HaveField("Address", second)), request)
	Expect(one.Header).To(HaveKeyWithValue("Content-Type", HaveExactElements(HavePrefix("text/plain"))), request)
	Expect(one.Header).To(HaveKeyWithValue("Auto-Submitted", []string{"auto-generated"}), request)
	Expect(slices.Sorted(maps.Keys(one.Header))).To(Equal([]string{
		"Auto-Submitted", "Content-Transfer-Encoding", "Content-Type", "Date", "From", "Message-Id", "Mime-Version", "Subject", "To",
	}), request)
	return one
}
