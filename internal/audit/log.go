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

// eachEvent reads an audit log and gives each Event to take whose text may concern somebody. A
// log is Events, as kube-apiserver writes them, or what a cloud makes of them:
//
//	file  EVENT, or {"kind":"EventList","items":[EVENT, …]}
//	EKS   {"logEvents":[{"message":"EVENT"}, …]} or {"events":[{"message":"EVENT"}, …]},
//	      or, exported to S3, a time and EVENT
//	AKS   {"records":[{"properties":{"log":"EVENT"}}, …]}, or one of them
//	GKE   a LogEntry, which has no Event in it
//
// It returns how many texts that concern somebody are none of that.
func eachEvent(file string, r io.Reader, concerns func(text []byte) bool, take func(*event)) (others int, err error) {
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
		events := eventsIn(text)
		if len(events) == 0 {
			others++
		}
		for i := range events {
			take(&events[i])
		}
	}
}

// maxText bounds one line of a log, which may be all that a cloud sends at once.
const maxText = 256 << 20

// oneToALine says whether what a log begins with is a line with JSON of its own. To read lines is
// several times as fast.
func oneToALine(beginning []byte) bool {
	line, _, _ := bytes.Cut(beginning, []byte("\n"))
	return json.Valid(bare(line))
}

func lineByLine(in *bufio.Reader) func() ([]byte, error) {
	return func() ([]byte, error) {
		line, err := readLine(in, maxText)
		return bare(bytes.TrimSpace(line)), err
	}
}

// bare is a line without the time that CloudWatch writes before each that it exports to S3.
func bare(line []byte) []byte {
	if bytes.HasPrefix(line, []byte("{")) {
		return line
	}
	at, rest, _ := bytes.Cut(line, []byte(" "))
	if _, err := time.Parse(time.RFC3339, string(at)); err != nil {
		return line
	}
	return rest
}

// valueByValue is for JSON that goes over several lines, or of which one line has several: Firehose
// writes nothing in between.
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
	event
	Items     []event     `json:"items"`
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

func eventsIn(line []byte) []event {
	var shape anyShape
	if json.Unmarshal(line, &shape) != nil {
		return nil
	}
	var texts []string
	for _, e := range append(shape.LogEvents, shape.Events...) {
		texts = append(texts, e.Message)
	}
	for _, r := range append(shape.Records, shape.aksRecord) {
		if r.Properties.Log != "" {
			texts = append(texts, r.Properties.Log)
		}
	}
	switch {
	case shape.AuditID != "":
		return []event{shape.event}
	case shape.Payload != nil:
		return []event{shape.Payload.event(&shape)}
	case len(shape.Items) > 0:
		return shape.Items
	}
	var events []event
	for _, text := range texts {
		var e event
		if json.Unmarshal([]byte(text), &e) == nil && e.AuditID != "" {
			events = append(events, e)
		}
	}
	return events
}
