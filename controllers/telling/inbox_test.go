// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package telling

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// After a start every request is in the inbox once, which is most of what there ever is.
func TestWhatWasToldTakesNoMemory(t *testing.T) {
	const many, most = 20_000, 200 << 10 // bytes; the requests took thousands of KiB
	keys := make([]types.NamespacedName, many)
	for n := range keys {
		keys[n].Name = fmt.Sprint("request-", n)
	}
	i := newInbox(time.Now)
	before := heap()
	for _, key := range keys {
		i.add(key, mail{at: mark{Requests: 1}})
	}
	for _, key := range keys {
		i.take(key)
	}
	full := heap() - before
	for _, key := range keys {
		i.done(key)
	}
	left := heap() - before
	runtime.KeepAlive(i)
	runtime.KeepAlive(keys)
	if t.Logf("%d bytes, and %d of them are left", full, left); full < most || left > most {
		t.Errorf("%d bytes are left of %d, want %d at the most", left, full, most)
	}
}

// heap is how many bytes are in use.
func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc) //nolint:gosec // no machine has that much
}
