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
	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

const (
	// drained is how many grants end in the same second.
	drained = 10000
	// places is in how many namespaces they are.
	places = 20
	// drainTurns is how often that is done with records, and how often without.
	drainTurns = 5
	// ahead is how long before the ends the first of them is written. Once all are, a manager is
	// started, and has to be idle before they end.
	ahead = 75 * time.Second
	// mostAdded is what records may add to the processor time of a drain, as a part of it.
	mostAdded = 0.02
)

// What is measured of a drain.
const (
	endsIn   = "ends in a second"
	cpuEnds  = "processor time of the manager until the last end, s"
	cpuPlane = "processor time of kube-apiserver and etcd until the last end, s"
	cpuWhole = "processor time of the manager until all is recorded, s"
)

// byRecords is what the gate is for.
const byRecords = "processor time that records add until the last end, of all that the drain takes without"

// BenchmarkRecords measures what records cost while 10 000 grants end in the same second: there
// are drains without records and drains with records on stdout and in a file, in turn, five of
// each. The grants are copies of one that was really given, written straight into etcd while no
// manager runs: to ask for as many takes minutes each time. It prints Markdown.
//
// The gate is that records delay no end: for what the manager takes more with records until the
// last end, as a part of what the manager, kube-apiserver and etcd take until then without. The
// median of the turns must not be above 0.02. Until the last end hardly any end is told, since
// status, from which records are made, gives way to ends (ADR 10); so this is not what they cost.
// That is in "until all is recorded", and for one record in BenchmarkTellAnEnd of
// controllers/telling. Single turns differ by more than the bound, rates of ends by much more.
//
// It fails as well if not all grants and ends were told, or if the manager was not ready and
// idle before the ends. It needs Linux and an idle machine, and is meant for -benchtime 1x.
func BenchmarkRecords(b *testing.B) {
	ctx := b.Context()
	d := newDrains(ctx, newLoad(ctx, b))
	defer func() { fmt.Println(d.load) }() // also what was measured before something fails
	for b.Loop() {
		for turn := range drainTurns {
			for i := range 2 { // either is the first one now and then
				d.drain(ctx, (turn+i)%2 == 1)
			}
			d.compare()
		}
	}
	b.ReportMetric(0, "ns/op")
	all := slices.Sorted(slices.Values(d.figures[byRecords]))
	if median := all[len(all)/2]; median > mostAdded {
		b.Errorf("records add %.4f to the processor time of a drain, want %.2f at most; it was %.4f to %.4f",
			median, mostAdded, all[0], all[len(all)-1])
	}
}

func with(what string, records bool) string {
	if records {
		return what + ", with records"
	}
	return what + ", without records"
}

func ratioOf(what string) string { return what + ", with records, of that without" }

// compare the last two drains.
func (l *load) compare() {
	for _, what := range []string{endsIn, cpuEnds, cpuWhole} {
		l.note(ratioOf(what), l.last(with(what, true))/l.last(with(what, false)))
	}
	without := l.last(with(cpuEnds, false))
	l.note(byRecords, (l.last(with(cpuEnds, true))-without)/(without+l.last(with(cpuPlane, false))))
}

// drains are of copies of one request, in some namespaces, one after the other.
type drains struct {
	*load
	of *original
	in []string
	// next is the number of the next copy: no two have the same.
	next int
}

// newDrains has the request that all are copies of. Nothing is left of it, and no manager runs.
func newDrains(ctx context.Context, l *load) *drains {
	l.launch(ctx)
	l.ready(ctx)
	d := &drains{load: l, of: l.original(ctx, time.Hour, v1alpha1.StateActive), in: l.namespaces(ctx, places)}
	check(l.B, l.admin.Delete(ctx, d.of.req))
	l.poll(ctx, 100*time.Millisecond, loadTimeout, "the first access has ended", func() bool { return l.noneHeld(ctx) })
	l.stop(l.manager)
	return d
}

// drain measures how access ends, all of it at once, with or without records. Nothing is left
// of it, for the next manager to read.
func (d *drains) drain(ctx context.Context, records bool) {
	d.Helper()
	dir := d.TempDir()
	said, err := os.Create(filepath.Join(dir, "said")) // which the manager writes by itself
	check(d.B, err)
	file, sinks := filepath.Join(dir, "records.jsonl"), []string{"--record-to=none"}
	if records {
		sinks = []string{"--record-to=stdout", "--record-to=file:" + file}
	}
	// told says whether something is told of all requests, if it is to be.
	told := func(what string) bool {
		return !records || min(countIn(d.B, file, "/"+what+`"`), countIn(d.B, said.Name(), "/"+what+`"`)) >= drained
	}
	end := d.begin(ctx, said, sinks)
	if !told("granted") {
		d.Fatal("the manager has nothing more to tell, and did not tell of all that they were granted")
	}
	d.measure(ctx, records, end, func() bool { return d.actives(ctx) == 0 && told("ended") })

	d.stop(d.manager)
	check(d.B, said.Close())
	each(d.B, len(d.in), atOnce, func(i int) {
		check(d.B, d.admin.DeleteAllOf(ctx, &v1alpha1.AccessRequest{}, client.InNamespace(d.in[i])))
	})
}

// begin has access held until a moment that is near, and a manager that has nothing to do until
// then.
func (d *drains) begin(ctx context.Context, out *os.File, sinks []string) (end time.Time) {
	d.Helper()
	began := time.Now()
	end = began.Add(ahead).Truncate(time.Second)
	d.copies(ctx, d.of, d.in, d.next, d.next+drained, func(int) time.Time { return end })
	d.next += drained
	written := time.Now()
	d.launchTo(ctx, out, sinks...)
	d.ready(ctx)
	d.idle(ctx, time.Until(end.Add(-2*time.Second)))
	d.Logf("%d were written in %s, and the manager was idle after %s more, %s before they end",
		drained, written.Sub(began), time.Since(written), time.Until(end))
	return end
}

// took is the processor time of the manager, and of kube-apiserver and etcd, until a moment.
type took struct {
	at             time.Time
	manager, plane time.Duration
}

func (l *load) took() took {
	l.Helper()
	plane, err := l.plane.CPU()
	check(l.B, err)
	manager, err := l.manager.CPU()
	check(l.B, err)
	return took{time.Now(), manager, plane}
}

// measure a drain that is about to begin, until all is recorded.
func (l *load) measure(ctx context.Context, records bool, end time.Time, recorded func() bool) {
	l.Helper()
	<-time.After(time.Until(end.Add(-time.Second)))
	mark, err := l.plane.AuditMark()
	check(l.B, err)
	before := l.took()
	var samples []took
	l.poll(ctx, 100*time.Millisecond, loadTimeout, "all access has ended", func() bool {
		samples = append(samples, l.took())
		return len(samples)%10 == 0 && l.noneHeld(ctx)
	})
	samples = append(samples, l.took()) // the last end may be later than the others
	l.poll(ctx, time.Second, loadTimeout, "all is recorded", recorded)
	whole := l.took()

	last := l.lastEnd(mark)
	at := samples[slices.IndexFunc(samples, func(s took) bool { return !s.at.Before(last) })]
	l.note(with(endsIn, records), drained/last.Sub(end).Seconds())
	l.note(with(cpuEnds, records), (at.manager - before.manager).Seconds())
	l.note(with(cpuPlane, records), (at.plane - before.plane).Seconds())
	l.note(with(cpuWhole, records), (whole.manager - before.manager).Seconds())
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
