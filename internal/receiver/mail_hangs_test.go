// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"
)

func TestAMailServerThatSaysNothingHoldsUpNobody(t *testing.T) {
	for name, beginsWithTLS := range map[string]bool{"STARTTLS": false, "TLS from the beginning": true} {
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = listener.Close() }) // which the system has accept, and nobody serves
		at := listener.Addr().(*net.TCPAddr)
		s := &smtp{entry: &entry{From: "lapse@example.com", To: []string{"sre@example.com"}}, host: "127.0.0.1", port: at.Port}
		s.beginsWithTLS, s.config = beginsWithTLS, &tls.Config{MinVersion: tls.VersionTLS12}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- s.send(ctx, one()) }()
		select {
		case err := <-ended:
			if err == nil {
				t.Errorf("%s: it was taken by nobody", name)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("%s: it goes on though its context is over", name)
		}
	}
}

func TestAMailThatWasTakenIsNotSentAgain(t *testing.T) {
	s := newMailServer(t)
	s.hangsUp = true
	err := s.receiver(t, ", caFile: "+s.ca).Send(t.Context(), one())
	<-s.done
	if err != nil || len(s.mails) != 1 {
		t.Errorf("%d mails were taken: %v", len(s.mails), err)
	}
}

func TestMailBeginsWithTLS(t *testing.T) {
	s := newMailServer(t)
	s.begins, s.answers["EHLO"] = true, "250-mail.example.com\r\n250 AUTH PLAIN"
	at := s.listener.Addr().(*net.TCPAddr)
	e := &entry{CAFile: s.ca, From: "lapse@example.com", To: []string{"sre@example.com"}, Username: "lapse", SecretFile: file(t, "password")}
	to := &smtp{entry: e, host: "127.0.0.1", port: at.Port, beginsWithTLS: true, config: e.tls()}
	err := to.send(t.Context(), one())
	<-s.done
	if err != nil || len(s.mails) != 1 {
		t.Errorf("%d mails were taken: %v", len(s.mails), err)
	}
}

func TestNobodyIsTrustedWhereTheFileOfCertificatesIsGone(t *testing.T) {
	if (&entry{CAFile: "/nowhere/ca.crt"}).tls().RootCAs == nil {
		t.Error("all that the system trusts is trusted")
	}
}
