// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/lapse-dev/lapse/test/operator"
)

// Anybody whose packets reach the Pod is a stranger.
var _ = Describe("Beside strangers who fill the operator's ports with requests that are never whole", func() {
	It("it keeps its memory, answers probes, and ends access on time", func(ctx SpecContext) {
		metrics, err := operator.FreeAddress()
		Expect(err).NotTo(HaveOccurred())
		m := startDirect(ctx, "--metrics-bind-address="+metrics)
		n, strangers, storm := 20, sized(2000, 600), sized(time.Minute, 6*time.Second)
		s := newScene(ctx, 3*time.Second, false)
		begin := time.Now().Add(setup(n)).Truncate(time.Second)
		s.expiring(ctx, n, begin.Add(2*time.Second), begin.Add(storm))
		before, err := m.Memory()
		Expect(err).NotTo(HaveOccurred())

		until(ctx, begin)
		stormCtx, calm := context.WithDeadline(ctx, begin.Add(storm))
		defer calm()
		var group sync.WaitGroup
		for i := range strangers {
			group.Go(func() {
				for stormCtx.Err() == nil {
					if i%2 == 0 {
						halfRequest(stormCtx, (&net.Dialer{}).DialContext, m.ProbeAddress())
					} else {
						halfRequest(stormCtx, (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext, metrics) //nolint:gosec // it makes its own certificate
					}
				}
			})
		}
		most, probes := before, 0
		for stormCtx.Err() == nil {
			now, err := m.Memory()
			Expect(err).NotTo(HaveOccurred())
			most = max(most, now)
			Expect(healthy(ctx, m)).To(Succeed(), "the kubelet would restart it")
			probes++
			until(ctx, time.Now().Add(200*time.Millisecond))
		}
		group.Wait()
		grown := (most - before) >> 20
		s.over(ctx)
		s.converge(ctx)
		s.judge(ctx, row{sweep: "strangers on its ports", runs: n, note: fmt.Sprintf("%d strangers: %d MB more, %d probes answered", strangers, grown, probes)})
		Expect(grown).To(BeNumerically("<", 50))
	}, SpecTimeout(5*time.Minute))
})

// halfRequest sends nearly a megabyte of a request's header, and waits until it is sent
// away.
func halfRequest(ctx context.Context, dial func(context.Context, string, string) (net.Conn, error), address string) {
	conn, err := dial(ctx, "tcp", address)
	if err != nil {
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if _, err := fmt.Fprint(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: "); err != nil {
		return
	}
	chunk := bytes.Repeat([]byte("a"), 10_000)
	for range 95 {
		if _, err := conn.Write(chunk); err != nil {
			return
		}
	}
	_, _ = conn.Read(chunk[:1])
}

// healthy asks as the kubelet does, which waits for a second.
func healthy(ctx context.Context, m *operator.Manager) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.ProbeAddress()+"/healthz", http.NoBody)
	if err != nil {
		return err
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", res.Status)
	}
	return res.Body.Close()
}
