// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
)

// BenchmarkReport reads an audit log of which every hundredth line is of a grant.
func BenchmarkReport(b *testing.B) {
	req, decisions := revoked()
	var log bytes.Buffer
	for i := range 50_000 {
		e := logged(fmt.Sprint("id-", i), 10, nil)
		if i%100 != 0 {
			e.User.Username = "system:node:worker-1"
			e.Annotations[reasonAnnotation] = `RBAC: allowed by ClusterRoleBinding "system:node" of ClusterRole`
		}
		line, err := json.Marshal(e)
		if err != nil {
			b.Fatal(err)
		}
		log.Write(append(line, '\n'))
	}
	b.SetBytes(int64(log.Len()))
	b.ReportAllocs()
	for b.Loop() {
		r := NewReporter(Question{})
		for _, record := range Of("", req, decisions) {
			r.ReadRecord(&record)
		}
		r.Choose()
		if err := r.ReadCalls("log", bytes.NewReader(log.Bytes())); err != nil {
			b.Fatal(err)
		}
		if n := len(r.Histories()[0].Calls); n != 500 {
			b.Fatalf("%d calls", n)
		}
	}
}
