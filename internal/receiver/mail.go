// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"os"
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
	s := &smtp{entry: e, host: host, port: int(port)}
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
}

func (s *smtp) send(ctx context.Context, m message.Message) error {
	msg := mail.NewMsg(mail.WithNoDefaultUserAgent())
	if err := errors.Join(msg.From(s.From), msg.To(s.To...)); err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(m.Source + "/" + m.ID))
	msg.SetMessageIDWithValue(hex.EncodeToString(sum[:16]) + "@lapse")
	msg.SetDateWithValue(m.At)
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.Subject(m.Subject())
	msg.SetBodyString(mail.TypeTextPlain, m.Body())
	client, err := s.dialer()
	if err != nil {
		return err
	}
	err = client.DialAndSendWithContext(ctx, msg)
	var refused *mail.SendError
	if errors.As(err, &refused) && refused.ErrorCode() >= 500 && !refused.IsTemp() {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

func (s *smtp) dialer() (*mail.Client, error) {
	config := s.tls()
	config.ServerName = s.host
	options := []mail.Option{mail.WithPort(s.port), mail.WithTimeout(mailTimeout), mail.WithTLSConfig(config), mail.WithTLSPolicy(mail.TLSMandatory)}
	if s.port == portOfTLS {
		options = append(options, mail.WithSSL())
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
