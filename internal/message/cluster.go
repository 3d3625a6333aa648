// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package message

import (
	"fmt"
	"time"
)

// Guard tells that the admission policies are not in force, and why, or that they are again.
func Guard(source, problem string, now time.Time) Message {
	title := "The admission policies of Lapse are in force again"
	if problem != "" {
		title = "The admission policies of Lapse are not in force, and nothing is granted"
	}
	m := ofCluster(GuardBroken, source, "guard", title, now)
	m.Data.Problem = problem
	m.add("Problem", problem)
	return m
}

// Records tells that a sink takes no records, or that it does again.
func Records(source, sink string, behind bool, now time.Time) Message {
	title := "A sink of records has all of them again"
	if behind {
		title = "A sink takes no records"
	}
	m := ofCluster(RecordsBehind, source, "records/"+sink, title, now)
	m.Data.Sink = sink
	if behind {
		m.Data.Problem = "it owes records, and took none for some minutes"
	}
	m.add("Sink", sink)
	m.add("Problem", m.Data.Problem)
	return m
}

// NewTest is a message that shows to a receiver that messages arrive, and who tried that. It asks
// for nothing, and as an alert it is over by itself.
func NewTest(source, receiver, who string, now time.Time) Message {
	const title = "This is a test of Lapse, and nobody has to do anything"
	m := Message{
		ID: fmt.Sprintf("test/%d", now.UnixMilli()), Source: source, Event: Test, At: now.UTC(), Title: title, Until: now.Add(repeatEvery).UTC(),
	}
	m.Data = Data{Event: Test, Title: title, SentBy: who}
	m.add("Receiver", receiver)
	m.add("Sent by", who)
	m.add("Sent with", "kubectl lapse doctor --message "+receiver)
	return m
}

func ofCluster(e Event, source, what, title string, now time.Time) Message {
	m := Message{
		ID: fmt.Sprintf("%s/%d", what, now.UnixMilli()), Source: source, Event: e, At: now.UTC(), Title: title, Command: "kubectl lapse doctor",
	}
	m.Data = Data{Event: e, Title: title, Command: m.Command}
	return m
}
