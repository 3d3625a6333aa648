// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package message

import (
	"net/url"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/lapse-dev/lapse/internal/audit"
	"github.com/lapse-dev/lapse/internal/text"
)

// Message is what people are told of one event.
type Message struct {
	// ID is the same if the message is sent again, by whichever replica.
	ID string
	// Source is the cluster, and Cluster what its admins call it; empty if they did not say.
	Source, Cluster string
	Event           Event
	// At is when it happened, or was due.
	At time.Time
	// Timed says that nothing changed in the cluster at that moment.
	Timed bool
	// Namespace and Name are those of the request, and Policy the one that it is under; empty
	// for what is of the cluster.
	Namespace, Name, Policy string
	// Title is one line. Nothing in it was written by who asked.
	Title string
	// Facts are read from the top to the bottom.
	Facts []Fact
	// Command to type next, and Link to look at it; empty if there is none.
	Command, Link string
	// Over says that an alert is over, and Until when it is at the latest.
	Over  bool
	Until time.Time
	// Data is for programs.
	Data Data
}

// Fact is one line of a message.
type Fact struct {
	Label, Value string
	// Written says that people wrote the value as they liked.
	Written bool
}

// Data is what a program is told. What it has of records is as in records.
type Data struct {
	Event    Event           `json:"event"`
	Title    string          `json:"title"`
	Request  *audit.Request  `json:"request,omitempty"`
	Decision *audit.Decision `json:"decision,omitempty"`
	Grant    *audit.Grant    `json:"grant,omitempty"`
	// WaitsFor are the approvals that are missing, and Until they may come.
	WaitsFor string     `json:"waitsFor,omitempty"`
	Until    *time.Time `json:"until,omitempty"`
	Risks    []string   `json:"risks,omitempty"`
	// Problem of the guard or a sink; empty when it is mended.
	Problem string `json:"problem,omitempty"`
	Sink    string `json:"sink,omitempty"`
	Command string `json:"command,omitempty"`
	Link    string `json:"link,omitempty"`
	// SentBy is who sent a test.
	SentBy string `json:"sentBy,omitempty"`
	// Withheld says why the message says less than it could: the receiver refused it.
	Withheld string `json:"withheld,omitempty"`
}

// Options are of one receiver.
type Options struct {
	// EndsIn is how long before the end of access EndingSoon is due.
	EndsIn time.Duration
	// Alerts has it said, too, that an event is over, and each again after a while.
	Alerts bool
	// Base is the address to which a link adds namespace and name; empty makes no link.
	Base string
	// Redact leaves out what people wrote.
	Redact bool
}

const (
	// maxValue bounds what is said in one line, in bytes.
	maxValue = 700
	// maxRisks is how many risks are told. The worst come first.
	maxRisks = 5
)

// TooLate says whether a message calls to do something that cannot be done any more.
func (m Message) TooLate(now time.Time) bool {
	calls := m.Event == Asked || m.Event == StillWaiting || m.Event == EndingSoon
	return calls && !m.Over && !now.Before(m.Until)
}

// Redacted is without what people wrote.
func (m Message) Redacted() Message {
	m.Facts = slices.DeleteFunc(slices.Clone(m.Facts), func(f Fact) bool { return f.Written })
	r := audit.Record{Data: audit.Data{Request: m.Data.Request, Decision: m.Data.Decision}}.Redacted()
	m.Data.Request, m.Data.Decision = r.Data.Request, r.Data.Decision
	return m
}

// Less are forms of the message for a receiver that refuses it, with the reason: one without
// what people wrote, and one that says nothing but what happened to which request.
func (m Message) Less(why string) []Message {
	redacted, bare := m.Redacted(), m
	bare.Facts = nil
	bare.Data = Data{Event: m.Event, Title: m.Title, Command: m.Command, Link: m.Link}
	redacted.Data.Withheld, bare.Data.Withheld = why, why
	return []Message{redacted, bare}
}

// facts are those of the message, after the name of the cluster. That is in each form of the
// message, also in what says least.
func (m Message) facts() []Fact {
	if m.Cluster == "" {
		return m.Facts
	}
	return append([]Fact{{Label: "Cluster", Value: m.Cluster}}, m.Facts...)
}

// add a fact, unless there is nothing to say.
func (m *Message) add(label, value string) {
	if value != "" {
		m.Facts = append(m.Facts, Fact{Label: label, Value: line(value)})
	}
}

// quote what somebody wrote.
func (m *Message) quote(label, written string) {
	if written != "" {
		m.Facts = append(m.Facts, Fact{Label: label, Value: line(written), Written: true})
	}
}

// line is what somebody wrote, on one line. To cut it may leave a joiner with nothing to join.
func line(s string) string { return text.Line(text.Cut(text.Line(s), maxValue)) }

// command about the request. Names that Kubernetes would not have are in no command.
func command(verb, namespace, name string) string {
	if !named(namespace, name) {
		return ""
	}
	return "kubectl lapse " + verb + " " + name + " -n " + namespace
}

// link to the request below a base address.
func link(base, namespace, name string) string {
	if base == "" || !named(namespace, name) {
		return ""
	}
	whole, err := url.JoinPath(base, namespace, name)
	if err != nil {
		return ""
	}
	return whole
}

func named(namespace, name string) bool {
	return len(validation.IsDNS1123Label(namespace)) == 0 && len(validation.IsDNS1123Subdomain(name)) == 0
}
