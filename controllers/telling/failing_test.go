// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package telling

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/message"
	"github.com/lapse-dev/lapse/internal/receiver"
)

// failing are addresses of receivers that take nothing, by how they fail. One that leads elsewhere
// leads to the one that works.
func failing(t *testing.T, works string) map[string]string {
	t.Helper()
	addresses := map[string]string{
		"it is away":               "https://127.0.0.1:1",
		"its certificate is false": strings.Replace(works, "127.0.0.1", "localhost", 1),
	}
	for name, answer := range map[string]http.HandlerFunc{
		"it answers 500": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"it asks to be left alone": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "120")
			w.WriteHeader(http.StatusTooManyRequests)
		},
		"it leads elsewhere": func(w http.ResponseWriter, got *http.Request) {
			http.Redirect(w, got, works, http.StatusTemporaryRedirect)
		},
		"it hangs up in the middle of its answer": func(w http.ResponseWriter, _ *http.Request) {
			connection, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				panic(err)
			}
			_, _ = io.WriteString(connection, "HTTP/1.1 200 OK\r\nContent-")
			_ = connection.Close()
		},
		"it says nothing": func(_ http.ResponseWriter, got *http.Request) {
			<-got.Context().Done()
			panic(http.ErrAbortHandler) // or an answer may be on its way while who asked goes
		},
	} {
		s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, got *http.Request) {
			_, _ = io.Copy(io.Discard, got.Body) // else nobody notices that who sent it has gone
			answer(w, got)
		}))
		t.Cleanup(s.Close)
		addresses[name] = s.URL
	}
	return addresses
}

// anHour passes, in which alice asks every five minutes, and is granted all but the last two.
func (p *process) anHour() (granted, waiting []*v1alpha1.AccessRequest) {
	for i := range 12 {
		waiting = append(waiting, p.wait(p.w, fmt.Sprint("r-", i)))
		p.work()
		if i > 1 {
			p.held(p.w, waiting[0], 2*time.Hour)
			granted, waiting = append(granted, waiting[0]), waiting[1:]
		}
		p.clock.Step(5 * time.Minute)
	}
	return granted, waiting
}

func TestAReceiverThatFailsForAnHourGetsAllThatIsStillOfUse(t *testing.T) {
	var took atomic.Int32
	works := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { took.Add(1) }))
	t.Cleanup(works.Close)
	ca := writeFile(t, "ca.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: works.Certificate().Raw}))
	for name, address := range failing(t, works.URL) {
		t.Run(name, func(t *testing.T) {
			took.Store(0)
			at := writeFile(t, "url", []byte(address))
			p := newPeople(t).process()
			p.sendsTo(at, ca)
			p.away = true
			granted, waiting := p.anHour()
			if len(p.got) != 0 || took.Load() != 0 {
				t.Fatalf("told %q", p.told())
			}
			if err := os.WriteFile(at, []byte(works.URL), 0o600); err != nil {
				t.Fatal(err)
			}
			p.away = false
			p.work()
			for _, req := range granted { // who was granted access waits for nobody
				p.mustHaveTold("uid-approve-"+req.Name+"/approved", string(req.UID)+"/granted")
			}
			for _, req := range waiting {
				p.mustHaveTold(string(req.UID) + "/asked")
			}
			if n := len(p.told()); n != 2*len(granted)+len(waiting) || n != int(took.Load()) {
				t.Errorf("%d messages were taken, of %q", took.Load(), p.told())
			}
			if owed, kept := p.m.inbox.owed(), p.m.inbox.kept; owed != 0 || kept != 0 {
				t.Errorf("%d requests and %d bytes are kept of what was told", owed, kept)
			}
		})
	}
}

// mustHaveTold these, once each and in this order.
func (p *process) mustHaveTold(ids ...string) {
	p.t.Helper()
	got := slices.DeleteFunc(p.told(), func(id string) bool { return !slices.Contains(ids, id) })
	if !slices.Equal(got, ids) {
		p.t.Errorf("told %q, want %q", got, ids)
	}
}

// sendsTo has messages sent to the address in a file, for real. While the receiver is away, an
// attempt is given little time.
func (p *process) sendsTo(at, ca string) {
	p.t.Helper()
	receivers, err := receiver.Parse([]byte(fmt.Sprintf(
		"receivers: [{name: sre, type: slack, urlFile: %q, caFile: %q, events: [asked]}]", at, ca)), receiver.Env{Now: p.clock.Now})
	if err != nil {
		p.t.Fatal(err)
	}
	p.m.to.Send = func(ctx context.Context, m message.Message) error {
		if p.away {
			short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
			defer cancel()
			ctx = short
		}
		if err := receivers[0].Send(ctx, m); err != nil {
			p.cluster.stop()
			return err
		}
		p.got = append(p.got, m)
		return nil
	}
}
