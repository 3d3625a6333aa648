// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// A call that is on its way when the fault ends must not hang until its caller gives up:
// what the fault was for would be measured wrongly.
func TestNothingHangsOnceTheFaultIsOver(t *testing.T) {
	p, err := NewProxy(&rest.Config{Host: "https://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	p.Inject(func(Call) Effect {
		return Effect{Hang: true, Before: func() { p.Inject(nil) }}
	})
	c := p.server.Client()
	c.Timeout = 2 * time.Second
	begun := time.Now()
	res, err := c.Get(p.server.URL + "/api")
	if err == nil {
		_ = res.Body.Close()
		t.Fatal("the call was answered")
	}
	if took := time.Since(begun); took >= c.Timeout {
		t.Errorf("it hung for %s", took)
	}
}
