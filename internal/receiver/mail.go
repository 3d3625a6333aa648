// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/wneessen/go-mail"

	"github.com/lapse-dev/lapse/internal/message"
	"github.com/lapse-dev/lapse/internal/text"
)

// mailTimeout bounds a conversation with a mail server.
const mailTimeout = 9 * time.Second

// portOfTLS is that of servers that begin with TLS. Others have to offer STARTTLS.
const portOfTLS = 465

// mail has a message sent by SMTP.
func (e *entry) mail(path string, wrong *mistakes) func(context.Context, message.Message) error {
	host, number, err := net.SplitHostPort(e.Server)
	port, notNumber := strconv.ParseUint(number, 10, 16)
	if err != nil || notNumber != nil || host == "" || port == 0 {
		wrong.add(path+".server", "is %q; a host and a port are allowed, such as smtp.example.com:587", text.Line(e.Server))
	}
	if !isAddress(e.From) {
		wrong.add(path+".from", "is %q; an address is allowed, such as lapse@example.com", text.Line(e.From))
	}
	if len(e.To) == 0 {
		wrong.add(path+".to", "is empty; addresses are allowed, such as sre@example.com")
	}
	for _, to := range e.To {
		if !isAddress(to) {
			wrong.add(path+".to", "has %q; addresses are allowed, such as sre@example.com", text.Line(to))
		}
	}
	if (e.Username == "") != (e.SecretFile == "") {
		wrong.add(path+".username", "is %q, and secretFile %q; both are allowed, or neither", text.Line(e.Username), text.Line(e.SecretFile))
	}
	wrong.file(path+".secretFile", e.SecretFile, func(data []byte) string {
		if len(bytes.TrimSpace(data)) == 0 {
			return "a file with a password"
		}
		return ""
	})
	s := &smtp{entry: e, host: host, port: int(port), beginsWithTLS: port == portOfTLS, config: e.tls()}
	return s.send
}

// isAddress says whether it is one address and nothing else.
func isAddress(s string) bool {
	parsed, err := netmail.ParseAddress(s)
	return err == nil && parsed.Address == s
}

type smtp struct {
	*entry
	host string
	port int
	// beginsWithTLS leaves nothing to start.
	beginsWithTLS bool
	// config is read once: a CA's file that is gone later must not mean those of the system.
	config *tls.Config
	// had are the addresses that took the message last, which is of this ID. A receiver is sent
	// one message at a time.
	had []string
	of  string
}

// send one mail to all addresses. Where the server does not take one of them, the library sends
// to none; then each that has it not yet gets a mail of its own.
func (s *smtp) send(ctx context.Context, m message.Message) error {
	ctx, cancel := context.WithTimeout(ctx, mailTimeout)
	defer cancel()
	if s.of != m.ID {
		s.of, s.had = m.ID, nil
	}
	if len(s.had) == 0 {
		err := s.sendTo(ctx, m, s.To...)
		var failed *mail.SendError
		if len(s.To) == 1 || !errors.As(err, &failed) || failed.Reason != mail.ErrSMTPRcptTo {
			return err
		}
	}
	return s.sendToEach(ctx, m)
}

// sendToEach is Partly if some have it and the others refuse it. An address that takes nothing
// for now has it tried again, with those that refuse.
func (s *smtp) sendToEach(ctx context.Context, m message.Message) error {
	var refused, failed error
	for _, to := range s.To {
		if slices.Contains(s.had, to) {
			continue
		}
		switch err := s.sendTo(ctx, m, to); {
		case err == nil:
			s.had = append(s.had, to)
		case errors.Is(err, ErrRefused):
			refused = errors.Join(refused, err)
		default:
			failed = errors.Join(failed, err)
		}
	}
	switch {
	case failed != nil:
		return failed
	case refused != nil && len(s.had) > 0:
		return &Partly{refused}
	}
	return refused
}

// sendTo some addresses one mail.
func (s *smtp) sendTo(ctx context.Context, m message.Message, to ...string) error {
	msg := mail.NewMsg(mail.WithNoDefaultUserAgent())
	if err := errors.Join(msg.From(s.From), msg.To(to...)); err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(m.Source + "/" + m.ID))
	msg.SetMessageIDWithValue(hex.EncodeToString(sum[:16]) + "@lapse")
	msg.SetDateWithValue(m.At)
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.Subject(m.Subject())
	msg.SetBodyString(mail.TypeTextPlain, m.Body())
	client, err := s.client(ctx)
	if err != nil {
		return err
	}
	err = client.DialAndSendWithContext(ctx, msg)
	if msg.IsDelivered() {
		return nil // a server that took it may hang up as it likes
	}
	var refused *mail.SendError
	if errors.As(err, &refused) && refused.ErrorCode() >= 500 && !refused.IsTemp() {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

// client makes connections that are closed when ctx is over: the library bounds the dialing
// alone, and a server that accepts and says nothing would hold up everybody.
func (s *smtp) client(ctx context.Context) (*mail.Client, error) {
	config := s.config.Clone()
	config.ServerName = s.host
	startTLS, dial := mail.TLSMandatory, new(net.Dialer).DialContext
	if s.beginsWithTLS {
		startTLS, dial = mail.TLSOpportunistic, (&tls.Dialer{Config: config}).DialContext
	}
	options := []mail.Option{
		mail.WithPort(s.port), mail.WithTimeout(mailTimeout), mail.WithTLSConfig(config), mail.WithTLSPolicy(startTLS),
		mail.WithDialContextFunc(func(dialing context.Context, network, address string) (net.Conn, error) {
			connection, err := dial(dialing, network, address)
			if err == nil {
				context.AfterFunc(ctx, func() { _ = connection.Close() })
			}
			return connection, err
		}),
	}
	if s.Username != "" {
		password, err := os.ReadFile(s.SecretFile)
		if err != nil {
			return nil, err
		}
		options = append(options, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(s.Username), mail.WithPassword(string(bytes.TrimSpace(password))))
	}
	return mail.NewClient(s.host, options...)
}
