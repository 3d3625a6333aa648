// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package message

// teamsMessage is what the trigger "When a Teams webhook request is received" of Workflows takes.
type teamsMessage struct {
	Type        string            `json:"type"`
	Attachments []teamsAttachment `json:"attachments"`
}

type teamsAttachment struct {
	ContentType string    `json:"contentType"`
	Content     teamsCard `json:"content"`
}

type teamsCard struct {
	Schema  string        `json:"$schema"`
	Type    string        `json:"type"`
	Version string        `json:"version"`
	Body    []teamsBlock  `json:"body"`
	Actions []teamsAction `json:"actions,omitempty"`
}

// teamsBlock is a RichTextBlock: unlike a TextBlock it knows no Markdown.
type teamsBlock struct {
	Type    string     `json:"type"`
	Inlines []teamsRun `json:"inlines"`
}

type teamsRun struct {
	Type     string `json:"type"`
	Text     string `json:"text"`
	Weight   string `json:"weight,omitempty"`
	Size     string `json:"size,omitempty"`
	FontType string `json:"fontType,omitempty"`
}

type teamsAction struct {
	Type  string `json:"type"`
	Title string `json:"title"`
	URL   string `json:"url"`
}

// Teams is the message for a workflow of Microsoft Teams, as an Adaptive Card. Its one button
// opens the link.
func (m Message) Teams() ([]byte, error) {
	const run, bolder = "TextRun", "Bolder"
	block := func(runs ...teamsRun) teamsBlock { return teamsBlock{Type: "RichTextBlock", Inlines: runs} }
	card := teamsCard{Schema: "http://adaptivecards.io/schemas/adaptive-card.json", Type: "AdaptiveCard", Version: "1.4"}
	card.Body = append(card.Body, block(teamsRun{Type: run, Text: m.Title, Weight: bolder, Size: "Medium"}))
	for _, f := range m.facts() {
		card.Body = append(card.Body, block(teamsRun{Type: run, Text: f.Label + ": ", Weight: bolder}, teamsRun{Type: run, Text: f.Value}))
	}
	if m.Command != "" {
		card.Body = append(card.Body, block(teamsRun{Type: run, Text: m.Command, FontType: "Monospace"}))
	}
	if m.Link != "" {
		card.Actions = []teamsAction{{Type: "Action.OpenUrl", Title: "Look at it", URL: m.Link}}
	}
	attachment := teamsAttachment{ContentType: "application/vnd.microsoft.card.adaptive", Content: card}
	return written(teamsMessage{Type: "message", Attachments: []teamsAttachment{attachment}})
}
