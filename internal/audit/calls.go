// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// ReadCalls reads an audit log and gives each call to take whose text may concern somebody. A
// log is Events, as kube-apiserver writes them, or what a cloud makes of them:
//
//	file  EVENT, or {"kind":"EventList","items":[EVENT, …]}
//	EKS   {"logEvents":[{"message":"EVENT"}, …]} or {"events":[{"message":"EVENT"}, …]}
//	AKS   {"records":[{"properties":{"log":"EVENT"}}, …]}, or one of them
//	GKE   a LogEntry, which has no Event in it
//
// It returns how many texts that concern somebody are none of that.
func ReadCalls(file string, r io.Reader, concerns func(text []byte) bool, take func(*Call)) (others int, err error) {
	in := bufio.NewReaderSize(r, 1<<20)
	next := lineByLine(in)
	if beginning, _ := in.Peek(1 << 20); !oneToALine(beginning) {
		next = valueByValue(in)
	}
	for n := 1; ; n++ {
		text, err := next()
		switch {
		case errors.Is(err, io.EOF):
			return others, nil
		case err != nil:
			return others, fmt.Errorf("%s: %d: %w", file, n, err)
		case len(text) == 0 || !concerns(text):
			continue
		}
		calls := callsIn(text)
		if len(calls) == 0 {
			others++
		}
		for i := range calls {
			take(&calls[i])
		}
	}
}

// maxText bounds one line of a log, which may be all that a cloud sends at once.
const maxText = 256 << 20

// oneToALine says whether what a log begins with is a line, or part of one, with JSON of its
// own. To read lines is several times as fast.
func oneToALine(beginning []byte) bool {
	line, _, whole := bytes.Cut(beginning, []byte("\n"))
	return !whole || json.Valid(line)
}

func lineByLine(in *bufio.Reader) func() ([]byte, error) {
	return func() ([]byte, error) {
		line, err := readLine(in, maxText)
		return bytes.TrimSpace(line), err
	}
}

// valueByValue is for JSON that goes over several lines.
func valueByValue(in *bufio.Reader) func() ([]byte, error) {
	decoder := json.NewDecoder(in)
	return func() ([]byte, error) {
		var value json.RawMessage
		err := decoder.Decode(&value)
		return value, err
	}
}

// anyShape is a line in any of the shapes.
type anyShape struct {
	Call
	Items     []Call      `json:"items"`
	LogEvents []eksEvent  `json:"logEvents"`
	Events    []eksEvent  `json:"events"`
	Records   []aksRecord `json:"records"`
	aksRecord
	Payload *gkePayload       `json:"protoPayload"`
	Labels  map[string]string `json:"labels"`
	// ID and Time of a LogEntry.
	ID   string    `json:"insertId"`
	Time time.Time `json:"timestamp"`
}

type eksEvent struct {
	Message string `json:"message"`
}

type aksRecord struct {
	Category   string `json:"category"`
	Properties struct {
		Log string `json:"log"`
	} `json:"properties"`
}

func callsIn(line []byte) []Call {
	var shape anyShape
	if json.Unmarshal(line, &shape) != nil {
		return nil
	}
	var events []string
	for _, e := range append(shape.LogEvents, shape.Events...) {
		events = append(events, e.Message)
	}
	for _, r := range append(shape.Records, shape.aksRecord) {
		if r.Properties.Log != "" {
			events = append(events, r.Properties.Log)
		}
	}
	switch {
	case shape.AuditID != "":
		return []Call{shape.Call}
	case shape.Payload != nil:
		return []Call{shape.Payload.call(&shape)}
	case len(shape.Items) > 0:
		return shape.Items
	}
	var calls []Call
	for _, e := range events {
		var c Call
		if json.Unmarshal([]byte(e), &c) == nil && c.AuditID != "" {
			calls = append(calls, c)
		}
	}
	return calls
}
