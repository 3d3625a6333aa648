// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package message

import (
	"strings"
	"time"
)

// alert is what Alertmanager takes by POST /api/v2/alerts.
type alert struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     *time.Time        `json:"startsAt,omitempty"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL,omitempty"`
}

// noMarkup takes the place of what has a meaning in HTML, Slack's markup or Markdown: nobody
// knows what Alertmanager's templates make of an annotation.
var noMarkup = strings.NewReplacer(
	"<", "‹", ">", "›", "&", "+", "*", "∗", "_", "‗", "~", "∼", "`", "'", "[", "(", "]", ")", "|", "/", "@", "＠", "{", "(", "}", ")",
)

// Alert is the message for Alertmanager: an alert that goes on until it is said to be over, at
// the latest until what it is about is over by itself. It says nothing that a requester wrote.
func (m Message) Alert() ([]byte, error) {
	name, severity := "LapseRequestWaits", "warning"
	if m.Event == Granted {
		name, severity = "LapseGrantHeld", "info"
	}
	if m.Event == Test {
		name, severity = "LapseTest", "info"
	}
	labels := map[string]string{"alertname": name, "severity": severity, "cluster_uid": strings.TrimPrefix(m.Source, "/clusters/")}
	if m.Cluster != "" {
		labels["cluster"] = m.Cluster
	}
	if named(m.Namespace, m.Name) {
		labels["namespace"], labels["request"] = m.Namespace, m.Name
	}
	if named("any", m.Policy) {
		labels["policy"] = m.Policy
	}
	a := alert{
		Labels:       labels,
		Annotations:  map[string]string{"summary": m.Title, "command": m.Command},
		EndsAt:       m.Until,
		GeneratorURL: m.Link,
	}
	if !m.Over {
		a.StartsAt = &m.At
	}
	var facts []string
	for _, f := range m.facts() {
		if !f.Written {
			facts = append(facts, f.Label+": "+noMarkup.Replace(f.Value))
		}
	}
	a.Annotations["description"] = strings.Join(facts, "\n")
	return written([]alert{a})
}
