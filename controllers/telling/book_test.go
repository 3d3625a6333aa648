// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package telling

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/lapse-dev/lapse/internal/audit"
)

// hasty is a clock on which nobody waits.
type hasty struct{ *clocktesting.FakeClock }

func (h hasty) After(d time.Duration) <-chan time.Time {
	h.Step(d)
	c := make(chan time.Time, 1)
	c <- h.Now()
	return c
}

// offered is a receiver that refuses what it wants to.
type offered struct {
	times  int
	refuse func(line []byte) error
	taken  [][]byte
}

func (o *offered) take(_ context.Context, line []byte) error {
	o.times++
	if err := o.refuse(line); err != nil {
		return err
	}
	o.taken = append(o.taken, bytes.Clone(line))
	return nil
}

// records that the receiver took. Their chain must be whole.
func (o *offered) records(t *testing.T) []audit.Record {
	t.Helper()
	v := audit.NewVerifier()
	if err := v.Read("sink", bytes.NewReader(bytes.Join(o.taken, []byte("\n")))); err != nil {
		t.Fatal(err)
	}
	if findings := v.Result().Findings; len(findings) > 0 {
		t.Error(findings)
	}
	out := make([]audit.Record, len(o.taken))
	for i, line := range o.taken {
		if err := json.Unmarshal(line, &out[i]); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func asked(name, reason string) audit.Record {
	request := &audit.Request{Name: name, Reason: reason}
	return audit.Record{SpecVersion: "1.0", ID: name + "/asked", Type: audit.Asked, Data: audit.Data{Request: request}}
}

func deliverTo(t *testing.T, o *offered, records ...audit.Record) time.Duration {
	t.Helper()
	clock := hasty{clocktesting.NewFakeClock(start)}
	b := &book{sink: Sink{Name: "receiver", Write: o.take}, insistence: insistence{clock: clock}, chain: *audit.NewChain("writer")}
	began := audit.Record{SpecVersion: "1.0", ID: "writer/began", Type: audit.WriterBegan, Data: audit.Data{Began: &audit.Began{}}}
	if err := b.add(append([]audit.Record{began}, records...)...); err != nil {
		t.Fatal(err)
	}
	if err := b.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	return clock.Since(start)
}

func containing(text string) func([]byte) error {
	return func(line []byte) error {
		if bytes.Contains(line, []byte(text)) {
			return fmt.Errorf("%w: 403 Forbidden", errRefused)
		}
		return nil
	}
}

func TestWordsThatAReceiverNeverTakesKeepNothingElseFromIt(t *testing.T) {
	o := &offered{refuse: containing("DROP TABLE")}
	took := deliverTo(t, o, asked("hostile", "DROP TABLE users"), asked("next", "INC-1"))
	got := o.records(t)
	if len(got) != 3 {
		t.Fatalf("took %d records, want 3", len(got))
	}
	hostile, next := got[1].Data, got[2].Data
	if hostile.Request.Name != "hostile" || hostile.Request.Reason != "" || hostile.Withheld != "refused: 403 Forbidden" {
		t.Errorf("%+v", hostile)
	}
	if next.Request.Reason != "INC-1" || next.Withheld != "" {
		t.Errorf("%+v", next)
	}
	if took < 12*time.Second || took > time.Minute {
		t.Errorf("it took %s", took)
	}
}

func TestManyHostileRecordsKeepAReceiverBehindForSecondsAlone(t *testing.T) {
	o := &offered{refuse: containing("DROP TABLE")}
	records := make([]audit.Record, 0, 300)
	for i := range 300 {
		records = append(records, asked(fmt.Sprint("hostile-", i), "DROP TABLE users"))
	}
	if took := deliverTo(t, o, records...); took > time.Minute {
		t.Errorf("300 take %s", took)
	}
	if got := o.records(t); len(got) != 301 {
		t.Errorf("took %d records, want 301", len(got))
	}
}

func TestOfWhatAReceiverTakesInNoFormItLearnsThatItHappened(t *testing.T) {
	o := &offered{refuse: containing("hostile\"")}
	r := asked("hostile", "")
	r.ID = "uid/asked"
	deliverTo(t, o, r, asked("next", "INC-1"))
	got := o.records(t)
	if len(got) != 3 || got[1].ID != "uid/asked" || got[1].Data.Request != nil || got[1].Data.Withheld == "" {
		t.Errorf("%+v", got)
	}
}

// A token that is not valid yet, a path that is not there, and a receiver that is away refuse
// everything. Nothing is withheld for that.
func TestWhoRefusesEverythingGetsEverythingLater(t *testing.T) {
	for name, err := range map[string]error{"refused": errRefused, "away": errors.New("connection refused")} {
		t.Run(name, func(t *testing.T) {
			o := &offered{}
			o.refuse = func([]byte) error {
				if o.times > 1 && o.times < 95 { // it took the first, by which a writer begins
					return err
				}
				return nil
			}
			deliverTo(t, o, asked("first", "INC-1"), asked("next", "INC-2"))
			for _, r := range o.records(t) {
				if r.Data.Withheld != "" || r.Data.Request != nil && r.Data.Request.Reason == "" {
					t.Errorf("%+v", r.Data)
				}
			}
		})
	}
}
