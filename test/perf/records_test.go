// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package perf

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

const (
	// drained is how many grants end in the same second.
	drained = 10000
	// places is in how many namespaces they are.
	places = 20
	// toGrant is how long each of them is given to be granted before all end.
	toGrant = 40 * time.Millisecond
	// leastRatio is how much of the rate of ends has to be left with records.
	leastRatio = 0.98
)

// What is measured of a drain.
const (
	endsIn   = "ends in a second"
	cpuEnds  = "processor time of the manager until the last end, s"
	cpuWhole = "processor time of the manager until all is recorded, s"
)

// BenchmarkRecords measures what records cost while 10 000 grants end in the same second: there
// are drains without records and drains with records on stdout and in a file, in turn, three of
// each. It prints Markdown: how many ended in a second, by the API server's audit log, how much
// time of processors the manager took, and both as a ratio to the drain without records of the
// same turn.
//
// It fails if the median of the three ratios of the rates is below 0.98; if not all ends were told;
// and if not all were granted in time. Rates of single drains differ by more than 2 %: the range
// says how much, and the ratio of processor time, which is steadier, what to think of it. It takes
// most of an hour, needs Linux and an idle machine, and is meant for -benchtime 1x.
func BenchmarkRecords(b *testing.B) {
	ctx := b.Context()
	l := newLoad(ctx, b)
	in := l.namespaces(ctx, places)
	for b.Loop() {
		for turn := range turns {
			for i := range 2 { // either is the first one now and then
				l.drain(ctx, in, (turn+i)%2 == 1)
			}
			for _, what := range []string{endsIn, cpuEnds, cpuWhole} {
				l.note(ratioOf(what), l.last(with(what, true))/l.last(with(what, false)))
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	fmt.Println(l)
	all := slices.Sorted(slices.Values(l.figures[ratioOf(endsIn)]))
	if median := all[len(all)/2]; median < leastRatio {
		b.Errorf("with records access ends at %.3f of the rate without, want %.2f at least; it was %.3f to %.3f",
			median, leastRatio, all[0], all[len(all)-1])
	}
}

func with(what string, records bool) string {
	if records {
		return what + ", with records"
	}
	return what + ", without records"
}

func ratioOf(what string) string { return what + ", with records, of that without" }

// drain has access given in some namespaces, and measures how it ends, all of it at once, with or
// without records. Nothing is left of it.
func (l *load) drain(ctx context.Context, in []string, records bool) {
	l.Helper()
	dir := l.TempDir()
	said, err := os.Create(filepath.Join(dir, "said")) // which the manager writes by itself
	check(l.B, err)
	file, sinks := filepath.Join(dir, "records.jsonl"), []string{"--record-to=none"}
	if records {
		sinks = []string{"--record-to=stdout", "--record-to=file:" + file}
	}
	l.manager = operator.NewManager(ctx, l.B, l.plane, said, sinks...)
	end := time.Now().Add(drained*toGrant + 15*time.Second).Truncate(time.Second)
	each(l.B, drained, atOnce, func(i int) {
		req := builders.Request(fmt.Sprintf("drain-%05d", i)).In(in[i%places]).ForClusterRole("reader")
		l.askAs(ctx, l.askers[i%len(l.askers)], req.Lasting(time.Hour).NotAfter(end).Build())
	})
	// told says whether something is told of all requests, if it is to be.
	told := func(what string) bool {
		return !records || min(countIn(l.B, file, "/"+what+`"`), countIn(l.B, said.Name(), "/"+what+`"`)) >= drained
	}
	l.poll(ctx, 3*time.Second, time.Until(end.Add(-2*time.Second)), "all are granted", func() bool {
		return l.actives(ctx) == drained && told("granted")
	})
	<-time.After(time.Until(end.Add(-time.Second)))
	l.measure(ctx, records, end, func() bool { return l.actives(ctx) == 0 && told("ended") })

	check(l.B, l.manager.Stop())
	check(l.B, said.Close())
	for _, ns := range in {
		check(l.B, l.admin.DeleteAllOf(ctx, &v1alpha1.AccessRequest{}, client.InNamespace(ns)))
	}
}

// measure a drain that is about to begin, until all is recorded.
func (l *load) measure(ctx context.Context, records bool, end time.Time, recorded func() bool) {
	l.Helper()
	mark, err := l.plane.AuditMark()
	check(l.B, err)
	before := l.cpu()
	type sample struct {
		at  time.Time
		cpu time.Duration
	}
	var samples []sample
	l.poll(ctx, 100*time.Millisecond, loadTimeout, "all access has ended", func() bool {
		samples = append(samples, sample{time.Now(), l.cpu()})
		return len(samples)%10 == 0 && l.noneHeld(ctx)
	})
	samples = append(samples, sample{time.Now(), l.cpu()}) // the last end may be later than the others
	l.poll(ctx, time.Second, loadTimeout, "all is recorded", recorded)
	whole := l.cpu() - before

	last := l.lastEnd(mark)
	at := slices.IndexFunc(samples, func(s sample) bool { return !s.at.Before(last) })
	l.note(with(endsIn, records), drained/last.Sub(end).Seconds())
	l.note(with(cpuEnds, records), (samples[at].cpu - before).Seconds())
	l.note(with(cpuWhole, records), whole.Seconds())
}

func (l *load) cpu() time.Duration {
	l.Helper()
	taken, err := l.manager.CPU()
	check(l.B, err)
	return taken
}

// poll looks now and then, until something is so.
func (l *load) poll(ctx context.Context, pause, limit time.Duration, what string, so func() bool) {
	l.Helper()
	err := wait.PollUntilContextTimeout(ctx, pause, limit, true, func(context.Context) (bool, error) { return so(), nil })
	if err != nil {
		l.Fatalf("waiting for %s until %s: %v", limit, what, err)
	}
}

// actives is how many requests are, in all namespaces.
func (l *load) actives(ctx context.Context) int {
	l.Helper()
	list := &metav1.PartialObjectMetadataList{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "AccessRequestList"},
	}
	check(l.B, l.admin.List(ctx, list, client.MatchingFields{"status.state": string(v1alpha1.StateActive)}))
	return len(list.Items)
}

// noneHeld says whether there is no managed binding, with as little work for the API server as
// can be.
func (l *load) noneHeld(ctx context.Context) bool {
	l.Helper()
	list := &metav1.PartialObjectMetadataList{
		TypeMeta: metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "RoleBindingList"},
	}
	check(l.B, l.admin.List(ctx, list, client.HasLabels{v1alpha1.RequestUIDLabel}, client.Limit(1)))
	return len(list.Items) == 0
}

// lastEnd is when the last RoleBinding was deleted since a mark, by the API server's audit log.
func (l *load) lastEnd(mark controlplane.AuditMark) (last time.Time) {
	l.Helper()
	events, err := l.plane.Writes(mark, operator.Username)
	check(l.B, err)
	gone := 0
	for i := range events {
		e := &events[i]
		if e.Verb == "delete" && e.ObjectRef.Resource == "rolebindings" && e.ResponseStatus.Code < 300 {
			gone++
			if e.StageTimestamp.After(last) {
				last = e.StageTimestamp.Time
			}
		}
	}
	if gone != drained {
		l.Fatalf("%d RoleBindings were deleted, want %d", gone, drained)
	}
	return last
}

// countIn is how often a text is in a file.
func countIn(b *testing.B, file, text string) int {
	b.Helper()
	content, err := os.ReadFile(file)
	check(b, err)
	return bytes.Count(content, []byte(text))
}
