// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package message

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	words "github.com/lapse-dev/lapse/internal/text"
)

// cloudEvent is CloudEvents 1.0 in its JSON format.
type cloudEvent struct {
	SpecVersion     string    `json:"specversion"`
	ID              string    `json:"id"`
	Source          string    `json:"source"`
	Type            string    `json:"type"`
	Subject         string    `json:"subject,omitempty"`
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype"`
	// Cluster is an extension attribute: a program may choose by it without reading the data.
	Cluster string `json:"cluster,omitempty"`
	Data    Data   `json:"data"`
}

// CloudEvent is the message for a program.
func (m Message) CloudEvent() ([]byte, error) {
	e := cloudEvent{
		SpecVersion: "1.0", ID: m.ID, Source: m.Source, Type: "dev.lapse.message." + strings.ToLower(string(m.Event)) + ".v1",
		Time: m.At, DataContentType: "application/json", Cluster: m.Cluster, Data: m.Data,
	}
	if m.Name != "" {
		e.Subject = m.Namespace + "/" + m.Name
	}
	return written(e)
}

// written is JSON in which what cannot be seen is escaped.
func written(v any) ([]byte, error) {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false) // it is in no page, and three times as long
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return []byte(words.JSON(strings.TrimSuffix(body.String(), "\n"))), nil
}
