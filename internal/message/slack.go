// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package message

import (
	"slices"
	"strings"

	"github.com/lapse-dev/lapse/internal/text"
)

// What Slack takes: see docs.slack.dev/reference/block-kit.
const (
	slackFields = 10
	slackHeader = 150
	// slackFieldSize is in characters. Escaped, they are up to five times as many.
	slackFieldSize = 2000
)

type slackMessage struct {
	// Text is what notifications show.
	Text        string       `json:"text"`
	UnfurlLinks bool         `json:"unfurl_links"`
	UnfurlMedia bool         `json:"unfurl_media"`
	LinkNames   bool         `json:"link_names"`
	Blocks      []slackBlock `json:"blocks"`
}

type slackBlock struct {
	Type   string      `json:"type"`
	Text   *slackText  `json:"text,omitempty"`
	Fields []slackText `json:"fields,omitempty"`
}

type slackText struct {
	Type string `json:"type"`
	Text string `json:"text"`
	// Emoji of plain text, and Verbatim of markup, have Slack make nothing of the text.
	Emoji    *bool `json:"emoji,omitempty"`
	Verbatim bool  `json:"verbatim,omitempty"`
}

// slackEscapes are the three characters with which all markup of Slack that acts begins.
var slackEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// plainSlack is text of which Slack makes nothing.
func plainSlack(s string) slackText {
	no := false
	out := slackText{Type: "plain_text", Text: slackEscapes.Replace(s), Emoji: &no}
	for len(out.Text) > slackFieldSize {
		s = text.Cut(s, len(s)*3/4)
		out.Text = slackEscapes.Replace(s)
	}
	return out
}

// Slack is the message for an incoming webhook of Slack, in Block Kit. All that people wrote is
// plain text; there is markup around the command and the link alone.
func (m Message) Slack() ([]byte, error) {
	title := plainSlack(m.Title[:min(len(m.Title), slackHeader)])
	out := slackMessage{Text: title.Text, Blocks: []slackBlock{{Type: "header", Text: &title}}}
	facts := m.facts()
	fields := make([]slackText, 0, len(facts))
	for _, f := range facts {
		fields = append(fields, plainSlack(f.Label+"\n"+f.Value))
	}
	for some := range slices.Chunk(fields, slackFields) {
		out.Blocks = append(out.Blocks, slackBlock{Type: "section", Fields: some})
	}
	var markup []string
	if m.Command != "" {
		markup = append(markup, "`"+slackEscapes.Replace(m.Command)+"`")
	}
	if m.Link != "" {
		markup = append(markup, "<"+slackEscapes.Replace(m.Link)+"|Look at it>")
	}
	if len(markup) > 0 {
		out.Blocks = append(out.Blocks, slackBlock{Type: "section", Text: &slackText{Type: "mrkdwn", Text: strings.Join(markup, "\n"), Verbatim: true}})
	}
	return written(out)
}
