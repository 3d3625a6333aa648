// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// inherited is the part on the flags of every command, which is shown once.
var inherited = regexp.MustCompile("(?s)### Options inherited from parent commands\n\n```.*?```\n\n")

// TestReferenceIsUpToDate compares docs/cli.md with the commands; with -update it
// writes it.
func TestReferenceIsUpToDate(t *testing.T) {
	root := newPlugin(genericiooptions.IOStreams{Out: io.Discard, ErrOut: io.Discard}).rootCommand()
	var out bytes.Buffer
	out.WriteString("# kubectl lapse\n\nGenerated from the commands by `make generate`; edit their texts instead.\n\n")
	write(t, &out, root)
	golden(t, filepath.Join("..", "..", "docs", "cli.md"), out.String())
}

func write(t *testing.T, out *bytes.Buffer, cmd *cobra.Command) {
	t.Helper()
	var page bytes.Buffer
	if err := doc.GenMarkdownCustom(cmd, &page, func(string) string { return "" }); err != nil {
		t.Fatal(err)
	}
	text, _, _ := strings.Cut(page.String(), "### SEE ALSO")
	out.WriteString(strings.TrimSpace(inherited.ReplaceAllString(text, "")) + "\n\n")
	for _, child := range cmd.Commands() {
		if child.IsAvailableCommand() && child.Name() != "completion" && child.Name() != "help" {
			write(t, out, child)
		}
	}
}
