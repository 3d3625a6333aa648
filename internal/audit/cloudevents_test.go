// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"encoding/json"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
)

func TestEachRecordIsACloudEvent(t *testing.T) {
	req, decisions := revoked()
	chain := NewChain("lapse-manager-7d9f/4602efc0")
	records := append(Of("/clusters/1", req, decisions), Gone("/clusters/1", req, asked)...)
	for _, r := range records {
		line, err := chain.Append(r)
		if err != nil {
			t.Fatal(err)
		}
		var e cloudevents.Event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if err := e.Validate(); err != nil {
			t.Errorf("%v in %s", err, line)
		}
		var data Data
		if err := e.DataAs(&data); err != nil || data.Request.Name != "debug" || e.Subject() != "payments/debug" || e.Time() != r.Time {
			t.Errorf("%v, %+v", err, e)
		}
		if got := e.Extensions()["lapsewriter"]; got != "lapse-manager-7d9f/4602efc0" {
			t.Errorf("writer %v", got)
		}
	}
}
