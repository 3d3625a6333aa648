// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package perf

import (
	"bytes"
	"encoding/csv"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/lapse-dev/lapse/test/operator"
)

const (
	// turns is how often each report is made.
	turns = 3
	// leastSpeed at which a log is read, in MB in a second, before it was packed.
	leastSpeed = 100
	// mostMemory of a report, in MB.
	mostMemory = 200
)

// BenchmarkReport measures `kubectl lapse report`, on one processor, over 1 GB of an audit log:
// of one person, for which few lines have to be understood, and of all, for which each has to be;
// from the log as it is, in turn with `wc -l`, and packed, in turn with `gzip -dc`. It fails if
// one is slower or takes more memory than promised, or does not tell all calls. It is meant for
// -benchtime 1x.
func BenchmarkReport(b *testing.B) {
	root, err := operator.Root()
	check(b, err)
	t := newTraffic(b)
	somebody, all := person(7), 0
	for _, calls := range t.allowed {
		all += calls
	}
	plugin := []string{filepath.Join(root, "bin", "kubectl-lapse"), "report", "--records", t.records, "-o", "csv", "--audit-log"}
	count, unpack := []string{"wc", "-l", t.plain}, []string{"gzip", "-dc", t.packed}
	for b.Loop() {
		for _, q := range []question{
			{"person", slices.Concat(plugin, []string{t.plain, "--person", somebody}), count, t.allowed[somebody]},
			{"person-packed", slices.Concat(plugin, []string{t.packed, "--person", somebody}), unpack, t.allowed[somebody]},
			{"all", slices.Concat(plugin, []string{t.plain}), count, all},
			{"all-packed", slices.Concat(plugin, []string{t.packed}), unpack, all},
		} {
			q.measure(b, t.size)
		}
	}
}

// question that a report answers.
type question struct {
	name string
	// command makes the report, and beside is what it is compared with.
	command, beside []string
	// calls that grants allowed, which it has to tell.
	calls int
}

// measure how long it takes to answer over a log of some bytes.
func (q question) measure(b *testing.B, size int) {
	b.Helper()
	took, beside, memory := make([]time.Duration, 0, turns), make([]time.Duration, 0, turns), 0.0
	for range turns {
		var out bytes.Buffer
		one, most := spend(b, &out, q.command)
		other, _ := spend(b, nil, q.beside)
		took, beside, memory = append(took, one), append(beside, other), max(memory, most)
		if told := granted(b, &out); told != q.calls {
			b.Errorf("%s: %d calls that a grant allowed are told, want %d", q.name, told, q.calls)
		}
	}
	speed := float64(size) / 1e6 / quantile(took, 0.5).Seconds()
	times := float64(quantile(took, 0.5)) / float64(quantile(beside, 0.5))
	b.ReportMetric(speed, q.name+"-MB/s")
	b.ReportMetric(memory, q.name+"-MB")
	b.ReportMetric(times, q.name+"-ratio-"+q.beside[0])
	// A benchmark that fails prints no metrics.
	b.Logf("%s: %.0f MB/s, %.0f MB of memory, %.1f times what %s takes", q.name, speed, memory, times, q.beside[0])
	if speed < leastSpeed || memory > mostMemory {
		b.Errorf("%s: want %d MB/s at least, and %d MB of memory at most", q.name, leastSpeed, mostMemory)
	}
}

// spend runs a command on one processor. It returns how long that took and how much memory it
// had at the most, in MB: of less than the benchmark itself had, Linux tells that.
func spend(b *testing.B, out io.Writer, command []string) (took time.Duration, memory float64) {
	b.Helper()
	var says bytes.Buffer
	cmd := exec.CommandContext(b.Context(), command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	cmd.Stdout, cmd.Stderr = out, &says
	took = timed(func() {
		if err := cmd.Run(); err != nil {
			b.Fatalf("%v: %v\n%s", command, err, says.String())
		}
	})
	most := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
	if runtime.GOOS != "darwin" { // which counts bytes
		most <<= 10
	}
	return took, float64(most) / 1e6
}

// granted is how many calls a report in CSV tells that a grant allowed.
func granted(b *testing.B, out io.Reader) (calls int) {
	b.Helper()
	rows, err := csv.NewReader(out).ReadAll()
	check(b, err)
	class := slices.Index(rows[0], "class")
	for _, row := range rows[1:] {
		if row[class] == "granted" {
			calls++
		}
	}
	return calls
}
