// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// Turns with receivers that hang are held against turns of the same run in which nobody is told.
// What waits for a receiver waits for 8 s, which is how long one may take to begin its answer: it
// fails if announce of controllers/granting, or end of controllers/ending, sends messages itself.
var _ = Describe("While each receiver of messages hangs", Serial, func() {
	It("no grant and no end is later for it", func(ctx SpecContext) {
		n := sized(1000, 40)
		untold, hanging := pace{}, pace{}
		for range sized(2, 1) {
			untold.keep(turn(ctx, n, false))
			hanging.keep(turn(ctx, n, true))
		}
		notes := make([]string, 0, len(untold))
		for _, what := range slices.Sorted(maps.Keys(untold)) {
			with, without := hanging[what], untold[what]
			notes = append(notes, fmt.Sprintf("%s: p90 %s and %s, ratio %.2f", what, ms(with), ms(without), with.Seconds()/without.Seconds()))
		}
		report(row{sweep: "receivers hang, and nobody is told", runs: n, note: strings.Join(notes, "; ")})
		for what, without := range untold {
			// A few are over before a ratio can be told, beside another suite.
			Expect(hanging[what]).To(BeNumerically("<=", without*3/2+sized(200*time.Millisecond, 4*time.Second)), what)
		}
	}, SpecTimeout(15*time.Minute))
})

// pace is how late nine of ten were at the most, by what they were.
type pace map[string]time.Duration

// keep the better of two turns: what else disturbs one of them is not what is compared.
func (p pace) keep(other pace) {
	for what, took := range other {
		if best, there := p[what]; !there || took < best {
			p[what] = took
		}
	}
}

// singles are the grants of a turn that end alone, one in each second. As many are revoked: that
// access ended on time is told to Alertmanager alone, and that it ended early to all others.
const singles = 5

// turn is a manager that has n granted and ended. All but the singles and those that are revoked
// end in the same second.
func turn(ctx context.Context, n int, told bool) pace {
	GinkgoHelper()
	s := newScene(ctx, time.Minute, false)
	namespaces := widen(ctx, s, 20)
	var args []string
	hung := func() bool { return true }
	if told {
		path, all := hangingReceivers(ctx, "p-"+s.ns)
		args, hung = append(args, "--messages="+path), all
	}
	m := startDirect(ctx, args...)
	warmUp(ctx, s, hung)

	end := time.Now().Add(time.Duration(n)*30*time.Millisecond + 15*time.Second).Truncate(time.Second)
	requests := make([]*v1alpha1.AccessRequest, n)
	each(n, func(i int) {
		alone := time.Duration(max(singles-i, 0)) * time.Second
		requests[i] = ask(ctx, s.request(fmt.Sprintf("a-%04d", i)).In(namespaces[i%len(namespaces)]).NotAfter(end.Add(-alone)))
	})
	s.activeWithin(ctx, n, time.Until(end)-singles*time.Second, "all must be granted before any ends")
	revoked := map[types.UID]time.Time{}
	for _, req := range requests[singles : 2*singles] {
		revoked[req.UID] = time.Now()
		decide(ctx, bob, req, v1alpha1.VerdictRevoke)
	}
	until(ctx, end)
	noneLeft(ctx, namespaces)
	s.active(ctx, 0)
	Expect(m.Stop()).To(Succeed())
	took := lateIn(s.history(), s.ns, end, revoked)
	Expect(took).To(HaveLen(4))
	Expect(took["a grant"]).To(HaveLen(n))

	out := pace{}
	for what, all := range took {
		slices.Sort(all)
		out[what] = quantile(all, 0.9)
	}
	for _, ns := range s.namespaces() { // or the next manager would begin with them
		Expect(admin.DeleteAllOf(ctx, &v1alpha1.AccessRequest{}, client.InNamespace(ns))).To(Succeed())
	}
	return out
}

// warmUp asks in the namespace of the scene until all receivers hang, and takes that back: who is
// new is told of what happens from then on.
func warmUp(ctx context.Context, s *scene, hung func() bool) {
	GinkgoHelper()
	asked := 0
	Eventually(func() bool {
		asked++
		ask(ctx, s.request(fmt.Sprintf("first-%d", asked)))
		s.active(ctx, asked)
		return hung()
	}).WithContext(ctx).WithPolling(500 * time.Millisecond).Should(BeTrue())
	Expect(admin.DeleteAllOf(ctx, &v1alpha1.AccessRequest{}, client.InNamespace(s.ns))).To(Succeed())
	s.active(ctx, 0)
}

// lateIn is how long grants took from being asked for, and how late their ends were, of which one
// second had most, and some were revoked. What was asked for to warm up is left out.
func lateIn(h *History, warm string, second time.Time, revoked map[types.UID]time.Time) map[string][]time.Duration {
	GinkgoHelper()
	out := map[string][]time.Duration{}
	for _, b := range h.Bindings {
		if b.Created.Namespace == warm {
			continue
		}
		expires, ok := b.Expires()
		Expect(ok && !b.Ended.IsZero()).To(BeTrue(), b.Created.Name)
		end, due := "an end in the same second", expires
		if at, early := revoked[b.RequestUID()]; early {
			end, due = "a revocation", at
		} else if expires.Before(second) {
			end = "a single end"
		}
		out[end] = append(out[end], b.Ended.Sub(due))
		out["a grant"] = append(out["a grant"], b.CreatedAt.Sub(h.Requests[b.RequestUID()].CreatedAt))
	}
	return out
}

// hangingReceivers are a file with a receiver of each type, all of whom let everybody in and say
// nothing. hung says whether each of them was called. Nobody is told that access ends soon: that is
// told a minute before at the latest, and grants here are shorter.
func hangingReceivers(ctx context.Context, policy string) (path string, hung func() bool) {
	GinkgoHelper()
	dir := GinkgoT().TempDir()
	path, key := filepath.Join(dir, "messages.yaml"), filepath.Join(dir, "key")
	Expect(os.WriteFile(key, []byte("whsec_"+base64.StdEncoding.EncodeToString(make([]byte, 32))), 0o600)).To(Succeed())
	fields := map[string]string{
		"webhook":      "url: http://ADDRESS, secretFile: " + key,
		"slack":        "url: http://ADDRESS",
		"teams":        "url: http://ADDRESS",
		"alertmanager": "url: http://ADDRESS, policies: [" + policy + "]",
		"mail":         "server: ADDRESS, from: lapse@example.com, to: [sre@example.com]",
	}
	var called atomic.Int32
	file := "receivers:\n"
	for kind, field := range fields {
		address, events := hangs(ctx, sync.OnceFunc(func() { called.Add(1) })), "granted, endedEarly"
		if kind == "alertmanager" {
			events = "granted" // and with it all ends
		}
		file += fmt.Sprintf("- {name: %[1]s, type: %[1]s, events: [%s], %s}\n", kind, events, strings.ReplaceAll(field, "ADDRESS", address))
	}
	Expect(os.WriteFile(path, []byte(file), 0o600)).To(Succeed())
	return path, func() bool { return int(called.Load()) == len(fields) }
}

// hangs is an address that lets everybody in, and says nothing.
func hangs(ctx context.Context, called func()) (address string) {
	GinkgoHelper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(listener.Close)
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(ctx, func() { _ = c.Close() }) // and not when nobody knows it any more
			called()
		}
	}()
	return listener.Addr().String()
}
