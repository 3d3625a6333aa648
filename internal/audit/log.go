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
	"slices"
	"strings"
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
		others += eachIn(text, concerns, take)
	}
}

// maxText bounds one line or value of a log, which may be all that a cloud sends at once. Reading
// one takes a few times as much memory.
const maxText = 16 << 20

// oneToALine says whether what a log begins with is a line with JSON of its own. To read lines is
// several times as fast. Of a line that goes on, only the time that S3 has before each tells.
func oneToALine(beginning []byte) bool {
	line, _, whole := bytes.Cut(beginning, []byte("\n"))
	if !whole && len(bare(line)) < len(line) {
		return true
	}
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
// writes nothing in between. After a value that is broken it reads lines: a log in use ends with a
// part of one, and goes on after that if the API server was killed.
func valueByValue(in *bufio.Reader) func() ([]byte, error) {
	bounded := &io.LimitedReader{R: in}
	decoder := json.NewDecoder(bounded)
	var rest func() ([]byte, error)
	read := 0
	return func() ([]byte, error) {
		if rest != nil {
			return rest()
		}
		bounded.N = maxText
		var value json.RawMessage
		err := decoder.Decode(&value)
		switch {
		case err == nil:
			read++
		case bounded.N == 0:
			return nil, fmt.Errorf("a value is longer than %d bytes", maxText)
		case read > 0 && !errors.Is(err, io.EOF):
			rest = lineByLine(bufio.NewReader(io.MultiReader(decoder.Buffered(), in)))
			return rest()
		}
		return value, err
	}
}

// anyShape is a line in any of the shapes. Lists are read one after the other: as values, many
// small ones take a hundred times as much memory as their text.
type anyShape struct {
	event
	Items     json.RawMessage `json:"items"`
	LogEvents json.RawMessage `json:"logEvents"`
	Events    json.RawMessage `json:"events"`
	Records   json.RawMessage `json:"records"`
	aksRecord
	// Stream of a batch; nil where it is not said.
	Stream  *string           `json:"logStream"`
	Payload *gkePayload       `json:"protoPayload"`
	Labels  map[string]string `json:"labels"`
	// ID and Time of a LogEntry.
	ID   string    `json:"insertId"`
	Time time.Time `json:"timestamp"`
}

type eksEvent struct {
	Message string `json:"message"`
	// Stream is nil where it is not said.
	Stream *string `json:"logStreamName"`
}

type aksRecord struct {
	Category   string `json:"category"`
	Properties struct {
		Log string `json:"log"`
	} `json:"properties"`
}

// A log group of EKS has other streams, and a setting of AKS may have other categories: in these
// are texts of others, that may look like an Event.
func (r *aksRecord) isAudit() bool {
	return slices.Contains([]string{"", "kube-audit", "kube-audit-admin"}, r.Category)
}

func isAudit(stream *string) bool {
	return stream == nil || strings.HasPrefix(*stream, "kube-apiserver-audit")
}

// eachIn gives each Event in a text to take. It returns how many of the texts in it are none, and
// may concern somebody: a cloud may have cut a long one.
func eachIn(text []byte, concerns func([]byte) bool, take func(*event)) (others int) {
	var shape anyShape
	if json.Unmarshal(text, &shape) != nil {
		return 1
	}
	wrapped := func(text string, isAudit bool) {
		if isAudit {
			others += eventIn(text, concerns, take)
		}
	}
	broken := 0
	switch {
	case !isAudit(shape.Stream):
	case shape.AuditID != "":
		take(&shape.event)
	case shape.Payload != nil:
		e := shape.Payload.event(&shape)
		take(&e)
	case shape.Items != nil:
		broken = eachOf(shape.Items, take)
	case shape.LogEvents != nil:
		broken = eachOf(shape.LogEvents, func(e *eksEvent) { wrapped(e.Message, isAudit(e.Stream)) })
	case shape.Events != nil:
		broken = eachOf(shape.Events, func(e *eksEvent) { wrapped(e.Message, isAudit(e.Stream)) })
	case shape.Records != nil:
		broken = eachOf(shape.Records, func(r *aksRecord) { wrapped(r.Properties.Log, r.isAudit()) })
	default:
		wrapped(shape.Properties.Log, shape.isAudit())
	}
	return others + broken
}

// eventIn gives the Event that a text is to take. It returns 1 if it is none, and may concern somebody.
func eventIn(text string, concerns func([]byte) bool, take func(*event)) (others int) {
	var e event
	switch {
	case json.Unmarshal([]byte(text), &e) == nil && e.AuditID != "":
		take(&e)
	case text == "" || concerns([]byte(text)):
		return 1
	}
	return 0
}

// eachOf the values of a list. It returns how many are of another shape, and one more if it ends
// before the list does.
func eachOf[T any](list json.RawMessage, take func(*T)) (broken int) {
	values := json.NewDecoder(bytes.NewReader(list))
	_, _ = values.Token() // the bracket
	for values.More() {
		var value T
		var other *json.UnmarshalTypeError
		switch err := values.Decode(&value); {
		case errors.As(err, &other):
			broken++
		case err != nil:
			return broken + 1
		default:
			take(&value)
		}
	}
	return broken
}
