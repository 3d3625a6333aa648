// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
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
			group.Go(func() { strange(stormCtx, i, m.ProbeAddress(), metrics) })
		}
		most, probes, failed, inARow := before, 0, 0, 0
		for stormCtx.Err() == nil {
			now, err := m.Memory()
			Expect(err).NotTo(HaveOccurred())
			most = max(most, now)
			probes++
			if err := healthy(ctx, m); err == nil {
				inARow = 0
			} else {
				failed, inARow = failed+1, inARow+1
				Expect(inARow).To(BeNumerically("<", failureThreshold), "the kubelet would restart it: %v", err)
			}
			until(ctx, time.Now().Add(200*time.Millisecond))
		}
		group.Wait()
		grown := (most - before) >> 20
		s.over(ctx)
		s.converge(ctx)
		s.judge(ctx, row{
			sweep: "strangers on its ports", runs: n,
			note: fmt.Sprintf("%d strangers: %d MB more, %d of %d probes not answered", strangers, grown, failed, probes),
		})
		Expect(grown).To(BeNumerically("<", 50))
	}, SpecTimeout(5*time.Minute))
})

// failureThreshold is how many probes in a row the kubelet lets fail, by default.
const failureThreshold = 3

// strange sends half requests until the context ends: every second stranger to the metrics,
// the others to the probes; and of both, every second one more than is read of a header.
func strange(ctx context.Context, i int, probes, metrics string) {
	dial, address := (&net.Dialer{}).DialContext, probes
	if i%2 == 1 {
		//nolint:gosec // the operator makes its own certificate
		dial, address = (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext, metrics
	}
	size := len(letters)
	if i/2%2 == 1 {
		size = 4_000
	}
	for ctx.Err() == nil {
		if conn, err := dial(ctx, "tcp", address); err == nil {
			sendHalf(ctx, conn, size)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// letters are nearly a megabyte, which net/http takes by default.
var letters = bytes.Repeat([]byte("a"), 950_000)

// sendHalf sends so much of a header, and waits until it is sent away.
func sendHalf(ctx context.Context, conn net.Conn, size int) {
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	begun := io.MultiReader(
		strings.NewReader("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: "),
		bytes.NewReader(letters[:size]))
	if _, err := io.Copy(conn, begun); err == nil {
		_, _ = io.Copy(io.Discard, conn)
	}
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
		err = fmt.Errorf("status %s", res.Status)
	}
	return errors.Join(err, res.Body.Close())
}
