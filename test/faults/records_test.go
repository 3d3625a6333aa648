// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/audit"
)

// reaper kills the operator at calls that a seed chooses, before or after they are committed.
type reaper struct {
	m      *running
	scenes []*scene

	mu     sync.Mutex
	random *rand.Rand
	left   int // kills
	spared int // calls until the next
}

// betweenKills is the most calls of the operator that are spared: it does about as many for a
// life, and has to get somewhere.
const betweenKills = 16

func (r *reaper) fault(c Call) Effect {
	if c.Verb == "watch" || c.DryRun || !r.scenes[0].has(c.Namespace) && !r.scenes[1].has(c.Namespace) {
		return Effect{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left == 0 {
		return Effect{}
	}
	if r.spared > 0 {
		r.spared--
		return Effect{}
	}
	r.left, r.spared = r.left-1, r.random.IntN(betweenKills)
	return r.m.crash(r.random.IntN(2) == 0, func() {})
}

// over says whether it has killed as often as it was to.
func (r *reaper) over() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.left == 0
}

// recordsFile is read while it grows.
type recordsFile struct {
	path string
	at   int64 // up to where it was read
	told []*Told
}

// read what is new. What has no end yet is left for the next time.
func (f *recordsFile) read() []*Told {
	GinkgoHelper()
	file, err := os.Open(f.path)
	Expect(err).NotTo(HaveOccurred())
	defer file.Close()
	end, err := file.Seek(0, io.SeekEnd)
	Expect(err).NotTo(HaveOccurred())
	Expect(end).To(BeNumerically(">=", f.at), "the operator closes and packs files of 100 MB")
	_, err = file.Seek(f.at, io.SeekStart)
	Expect(err).NotTo(HaveOccurred())
	for lines := bufio.NewReader(file); ; {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return f.told
		}
		Expect(err).NotTo(HaveOccurred())
		f.at += int64(len(line))
		if told := ParseTold(line); told != nil {
			f.told = append(f.told, told)
		}
	}
}

// ids that were told.
func (f *recordsFile) ids() map[string]bool {
	GinkgoHelper()
	out := map[string]bool{}
	for _, t := range f.read() {
		out[t.ID] = true
	}
	return out
}

var _ = Describe("Records", func() {
	It("have all that happened to each request, in order, whenever the operator is killed", func(ctx SpecContext) {
		lives, kills, seed := sized(200, 12), sized(100, 6), uint64(GinkgoRandomSeed())
		file := &recordsFile{path: filepath.Join(GinkgoT().TempDir(), "records.jsonl")}
		m := run(ctx, "--record-to=file:"+file.path)
		// Many kills in a row may delay one end. The sweeps of crashes bound each.
		const late = 2 * time.Minute
		s, waiting := newScene(ctx, late, false), newScene(ctx, late, true)
		r := &reaper{m: m, scenes: []*scene{s, waiting}, random: rand.New(rand.NewPCG(seed, 19)), left: kills} //nolint:gosec // a seed
		m.proxy.Inject(r.fault)
		lived := 0
		for ; lived == 0 || !r.over() && lived < 3*lives; lived += lives {
			each(lives, func(i int) { wholeLife(ctx, s, waiting, fmt.Sprintf("a-%04d", lived+i), i) })
		}
		m.proxy.Inject(nil)
		Expect(r.over()).To(BeTrue(), "%d kills were not reached in %d lives; seed %d", r.left, lived, seed)

		By("everything settled and told")
		s.converge(ctx)
		waiting.converge(ctx)
		untold := func() []Violation {
			return append(Untold(file.read(), s.state(ctx)), Untold(file.read(), waiting.state(ctx))...)
		}
		Eventually(untold, time.Minute, time.Second).WithContext(ctx).Should(BeEmpty(), "seed %d", seed)
		requests := append(s.state(ctx).Requests, waiting.state(ctx).Requests...)
		Expect(requests).To(HaveLen(lived))
		note := fmt.Sprintf("seed %d, %d kills, %d records of %d", seed, kills, len(file.told), len(file.ids()))
		s.judge(ctx, row{sweep: "kills, and what is recorded", runs: lived, note: note})
		waiting.judge(ctx, row{sweep: "kills, and what is recorded"})

		By("what is deleted while an operator runs")
		for _, ns := range []string{s.ns, waiting.ns} {
			Expect(admin.DeleteAllOf(ctx, &v1alpha1.AccessRequest{}, client.InNamespace(ns))).To(Succeed())
		}
		Eventually(func() (missing []string) {
			ids := file.ids()
			for i := range requests {
				if id := string(requests[i].UID) + "/forgotten"; !ids[id] {
					missing = append(missing, id)
				}
			}
			return missing
		}, time.Minute, time.Second).WithContext(ctx).Should(BeEmpty())
		verify(file.path)
	}, SpecTimeout(25*time.Minute))
})

// wholeLife is a life of one of six kinds, up to its end. Nothing is deleted: what nobody saw
// before it was gone, nobody tells.
func wholeLife(ctx context.Context, s, waiting *scene, name string, how int) {
	GinkgoHelper()
	switch how % 6 {
	case 0:
		reach(ctx, ask(ctx, s.request(name).Lasting(12*time.Hour)), v1alpha1.StateDenied)
	case 1:
		req := ask(ctx, s.request(name).NotAfter(time.Now().Add(10*time.Second).Truncate(time.Second)))
		reach(ctx, req, v1alpha1.StateExpired, v1alpha1.StateDenied)
	case 2:
		req := ask(ctx, s.request(name))
		reach(ctx, req, v1alpha1.StateActive)
		decide(ctx, bob, req, v1alpha1.VerdictRevoke)
		reach(ctx, req, v1alpha1.StateRevoked)
	case 3:
		req := ask(ctx, s.request(name))
		reach(ctx, req, v1alpha1.StateActive)
		decide(ctx, alice, req, v1alpha1.VerdictRevoke)
		reach(ctx, req, v1alpha1.StateReturned)
	case 4:
		req := ask(ctx, waiting.request(name))
		decide(ctx, bob, req, v1alpha1.VerdictApprove)
		reach(ctx, req, v1alpha1.StateActive)
		decide(ctx, bob, req, v1alpha1.VerdictRevoke)
		reach(ctx, req, v1alpha1.StateRevoked)
	default:
		req := ask(ctx, waiting.request(name))
		reach(ctx, req, v1alpha1.StatePending)
		decide(ctx, bob, req, v1alpha1.VerdictDeny)
		reach(ctx, req, v1alpha1.StateDenied)
	}
}

// reach waits for one of the states, for as long as some kills in a row may take.
func reach(ctx context.Context, req *v1alpha1.AccessRequest, states ...v1alpha1.RequestState) {
	GinkgoHelper()
	Eventually(func() v1alpha1.RequestState {
		Expect(admin.Get(ctx, keyOf(req), req)).To(Succeed())
		return req.Status.State
	}, 5*time.Minute, statePolling).WithContext(ctx).Should(BeElementOf(states), "request %s/%s", req.Namespace, req.Name)
}

// verify that nothing in the chains of a file was lost or changed.
func verify(path string) {
	GinkgoHelper()
	file, err := os.Open(path)
	Expect(err).NotTo(HaveOccurred())
	defer file.Close()
	v := audit.NewVerifier()
	Expect(v.Read(path, file)).To(Succeed())
	Expect(v.Result().Findings).To(BeEmpty())
}
