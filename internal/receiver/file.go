// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/lapse-dev/lapse/internal/message"
	"github.com/lapse-dev/lapse/internal/text"
)

// entry is a receiver as the file has it. Which fields are for which type: see fieldsOf.
type entry struct {
	Name       string   `json:"name"`
	Type       string   `json:"type"`
	Events     []string `json:"events"`
	Namespaces []string `json:"namespaces"`
	Policies   []string `json:"policies"`
	EndsIn     string   `json:"endsIn"`
	URL        string   `json:"url"`
	URLFile    string   `json:"urlFile"`
	SecretFile string   `json:"secretFile"`
	CAFile     string   `json:"caFile"`
	AllowHTTP  bool     `json:"allowHTTP"`
	Server     string   `json:"server"`
	From       string   `json:"from"`
	To         []string `json:"to"`
	Username   string   `json:"username"`

	// has are the fields that the file has, since what is empty is not what is left out.
	has map[string]json.RawMessage
}

// Types of receivers.
const (
	typeWebhook      = "webhook"
	typeSlack        = "slack"
	typeTeams        = "teams"
	typeAlertmanager = "alertmanager"
	typeMail         = "mail"
)

// fieldsOf a type, besides those that all have.
var fieldsOf = map[string][]string{
	typeWebhook:      {"url", "urlFile", "secretFile", "endsIn"},
	typeSlack:        {"url", "urlFile", "endsIn"},
	typeTeams:        {"url", "urlFile", "endsIn"},
	typeAlertmanager: {"url", "urlFile", "secretFile", "allowHTTP"},
	typeMail:         {"server", "from", "to", "username", "secretFile", "endsIn"},
}

var fieldsOfAll = []string{"name", "type", "events", "namespaces", "policies", "caFile"}

// maxReceivers bounds how many there are: each has workers of its own.
const maxReceivers = 32

// Env is what receivers need from outside.
type Env struct {
	// Now is the time by which webhooks are signed.
	Now func() time.Time
	// Redact leaves out what people wrote.
	Redact bool
}

// mistakes are all that is wrong with a file.
type mistakes []error

func (m *mistakes) add(path, format string, args ...any) {
	*m = append(*m, fmt.Errorf("%s: %s", path, fmt.Sprintf(format, args...)))
}

// Parse reads a file. An error names each mistake: where it is, what is there and what may be.
func Parse(data []byte, env Env) ([]*Receiver, error) {
	var top map[string]json.RawMessage
	if err := yaml.UnmarshalStrict(data, &top); err != nil {
		return nil, fmt.Errorf("it is no YAML with fields such as receivers: %w", err)
	}
	var wrong mistakes
	wrong.unknown("", top, []string{"cluster", "link", "receivers"})
	var list []json.RawMessage
	wrong.read("receivers", top["receivers"], &list, "a list of receivers")
	var base string
	wrong.read("link", top["link"], &base, "an address")
	wrong.link(base)
	cluster := wrong.cluster(top["cluster"])
	if n := len(list); n == 0 || n > maxReceivers {
		wrong.add("receivers", "there are %d; 1 to %d are allowed. Leave out --messages to tell nobody", n, maxReceivers)
	}
	out := make([]*Receiver, 0, len(list))
	names := map[string]string{}
	for i, raw := range list {
		path := fmt.Sprintf("receivers[%d]", i)
		e := wrong.entry(path, raw)
		if e == nil {
			continue
		}
		if before, twice := names[e.Name]; twice {
			wrong.add(path+".name", "is %q, which %s has; each name is allowed once", e.Name, before)
		}
		names[e.Name] = path
		r := e.receiver(path, &wrong, env)
		r.Options.Base, r.Options.Redact = base, env.Redact
		r.Send = naming(cluster, r.Send)
		out = append(out, r)
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	return out, nil
}

// naming has each message say how its cluster is called.
func naming(cluster string, send func(context.Context, message.Message) error) func(context.Context, message.Message) error {
	return func(ctx context.Context, m message.Message) error {
		m.Cluster = cluster
		return send(ctx, m)
	}
}

// entry is nil if it is none.
func (m *mistakes) entry(path string, raw json.RawMessage) *entry {
	e := &entry{}
	if json.Unmarshal(raw, &e.has) != nil {
		m.add(path, "is %s; allowed are fields such as name and type", shortly(raw))
		return nil
	}
	into := map[string]any{
		"name": &e.Name, "type": &e.Type, "endsIn": &e.EndsIn, "url": &e.URL, "urlFile": &e.URLFile, "secretFile": &e.SecretFile, "caFile": &e.CAFile,
		"server": &e.Server, "from": &e.From, "username": &e.Username, "events": &e.Events, "namespaces": &e.Namespaces, "policies": &e.Policies,
		"to": &e.To, "allowHTTP": &e.AllowHTTP,
	}
	for _, field := range slices.Sorted(maps.Keys(into)) {
		allowed := "a text"
		switch into[field].(type) {
		case *[]string:
			allowed = "a list of texts"
		case *bool:
			allowed = "true or false"
		}
		m.read(path+"."+field, e.has[field], into[field], allowed)
	}
	fields, known := fieldsOf[e.Type]
	if !known {
		m.add(path+".type", "is %q; allowed are %s", text.Line(e.Type), strings.Join(slices.Sorted(maps.Keys(fieldsOf)), ", "))
		return e
	}
	m.unknown(path+".", e.has, append(slices.Clone(fieldsOfAll), fields...))
	return e
}

// read a value; what is left out stays as it is.
func (m *mistakes) read(path string, raw json.RawMessage, into any, allowed string) {
	if raw == nil {
		return
	}
	if string(raw) == "null" || json.Unmarshal(raw, into) != nil {
		said := shortly(raw)
		if strings.HasSuffix(path, ".url") {
			said = "none" // it may be a secret
		}
		m.add(path, "is %s; %s is allowed", said, allowed)
	}
}

func (m *mistakes) unknown(prefix string, fields map[string]json.RawMessage, known []string) {
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(known, field) {
			m.add(prefix+text.Line(field), "there is no such field here; allowed are %s", strings.Join(known, ", "))
		}
	}
}

func shortly(raw json.RawMessage) string { return text.Cut(text.Line(string(raw)), 60) }
