// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package ending

import (
	"testing"
	"time"
)

func TestManyEndsAreSoManyInASecond(t *testing.T) {
	start := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	e := &recentEnds{}
	for range manyEnds - 1 {
		e.add(start)
	}
	if e.many(start) {
		t.Errorf("%d ends are many", manyEnds-1)
	}
	e.add(start)
	if !e.many(start.Add(manyWithin - 1)) {
		t.Errorf("%d ends in a second are not many", manyEnds)
	}
	if e.many(start.Add(manyWithin)) {
		t.Error("there are many though nothing ended for a second")
	}
}
