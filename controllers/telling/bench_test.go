// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package telling

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// atOnce is how many end at once.
const atOnce = 1000

// BenchmarkTellAnEnd is what one sink takes to have the end of a grant told and written to a file:
// the event of it, the look, the record and its chain. The API server is in memory.
func BenchmarkTellAnEnd(b *testing.B) {
	file, err := os.Create(filepath.Join(b.TempDir(), "records.jsonl"))
	if err != nil {
		b.Fatal(err)
	}
	c := newCluster(b)
	w := c.started()
	w.book.sink.Write = func(_ context.Context, line []byte) error {
		_, err := file.Write(append(line, '\n'))
		return err
	}
	for round := 0; b.Loop(); round++ {
		b.StopTimer()
		requests := make([]*v1alpha1.AccessRequest, atOnce)
		for n := range requests {
			requests[n] = c.ask(w, fmt.Sprintf("request-%d-%d", round, n))
			w.tellAll()
			c.grant(w, requests[n])
			w.tellAll()
		}
		for _, req := range requests {
			c.end(w, req)
		}
		b.StartTimer()
		w.tellAll()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*atOnce), "µs/end")
	b.ReportMetric(0, "ns/op")
	if err := file.Close(); err != nil {
		b.Fatal(err)
	}
}
