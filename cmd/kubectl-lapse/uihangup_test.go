// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"io"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

func TestThePageEndsWithItsTerminal(t *testing.T) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP) // which else would kill the tests, or be ignored under nohup
	t.Cleanup(func() { signal.Stop(hangup) })
	p := against(t, newDesk(t, "bob").ServeHTTP)
	said, out := io.Pipe()
	p.Out = out
	o := &uiOptions{plugin: p, address: "127.0.0.1", noBrowser: true}
	ended := make(chan error, 1)
	go func() { ended <- o.run(t.Context(), false) }()
	if _, err := bufio.NewReader(said).ReadString('\n'); err != nil { // the address
		t.Fatal(err)
	}
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := self.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it goes on")
	}
}
