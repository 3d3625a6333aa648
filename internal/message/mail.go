// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package message

import "strings"

// Subject of a mail. Nothing in it was written by who asked.
func (m Message) Subject() string {
	if m.Cluster != "" {
		return "[Lapse " + m.Cluster + "] " + m.Title
	}
	return "[Lapse] " + m.Title
}

// Body of a mail, plain text. Each line begins with what it is.
func (m Message) Body() string {
	var out strings.Builder
	for _, f := range m.facts() {
		out.WriteString(f.Label + ": " + f.Value + "\n")
	}
	for _, last := range []string{m.Command, m.Link} {
		if last != "" {
			out.WriteString("\n    " + last + "\n")
		}
	}
	return out.String()
}
