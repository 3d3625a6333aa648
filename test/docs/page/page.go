// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package page reads pages of the documentation: the examples in them, and how each of
// them is tested.
//
// A comment above an example says that, and is not shown to readers:
//
//	<!-- test: runs as alice, soon, exits 1, prints no -->
//	<!-- test: applied by root -->
//	<!-- test: file request.yaml, its time is in an hour -->
//	<!-- test: is config/samples/bindable.yaml -->
//	<!-- test: part of the spec of a policy -->
//	<!-- tested in test/e2e/tamper_test.go: takes no change from its holder -->
//	<!-- no test: it needs docker -->
package page

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// How an example is tested.
const (
	Runs       = "runs"       // commands of a person
	Applied    = "applied"    // a manifest that a person applies
	File       = "file"       // a file that commands below read
	Is         = "is"         // the same manifest as in a file of the repository
	PolicyPart = "part"       // a part of the spec of an AccessPolicy
	Elsewhere  = "elsewhere"  // a spec of another suite does the same
	NotTested  = "not tested" // for a reason
)

// Example is a block of commands or YAML on a page.
type Example struct {
	Page     string
	Line     int
	Language string
	Text     string
	// How it is tested; empty if nothing says so.
	How string

	// Who types the commands, or applies the manifest.
	Who string
	// Path of the file that is written, or compared with, or has the spec.
	Path string
	// Spec that does the same, or the reason for which there is no test.
	Spec, Reason string
	// InAnHour has a time in a file replaced by one that is still to come.
	InAnHour bool
	// Soon has commands repeated until they do what they have to.
	Soon bool
	// Exit is the exit code of the commands.
	Exit int
	// Prints is a part of what they print.
	Prints string
	// Manager is "starts" or "stops": what happens to it after the commands.
	Manager string
}

func (e *Example) String() string { return fmt.Sprintf("%s:%d", e.Page, e.Line) }

var mark = regexp.MustCompile(`^<!-- (test: |tested in |no test: )(.*) -->$`)

// Examples are those of a page of the repository, such as docs/gitops.md. What is printed
// (text) is none.
func Examples(root, name string) ([]*Example, error) {
	data, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		return nil, err
	}
	p := pageReader{name: name}
	for i, line := range strings.Split(string(data), "\n") {
		if err := p.read(i+1, line); err != nil {
			return nil, err
		}
	}
	if p.in != nil {
		return nil, fmt.Errorf("%s: the block has no end", p.in)
	}
	return p.found, nil
}

// pageReader reads a page line by line.
type pageReader struct {
	name  string
	found []*Example
	in    *Example // the block that is being read
	above string   // the line above
}

func (p *pageReader) read(number int, line string) error {
	above := p.above
	p.above = line
	if !strings.HasPrefix(line, "```") {
		return p.readText(number, line, above)
	}
	if p.in == nil {
		p.in = &Example{Page: p.name, Line: number, Language: strings.TrimPrefix(line, "```")}
		if err := p.in.read(above); err != nil {
			return fmt.Errorf("%s: %w", p.in, err)
		}
		return nil
	}
	if p.in.Language != "text" {
		p.found = append(p.found, p.in)
	}
	p.in = nil
	return nil
}

func (p *pageReader) readText(number int, line, above string) error {
	switch {
	case p.in != nil:
		p.in.Text += line + "\n"
	case strings.HasPrefix(line, "    ") && above == "":
		return fmt.Errorf("%s:%d: a block that is only indented says nothing of its language; put it between fences", p.name, number)
	}
	return nil
}

// read reads the mark above an example.
func (e *Example) read(said string) error {
	found := mark.FindStringSubmatch(said)
	if found == nil {
		return nil
	}
	switch rest := found[2]; found[1] {
	case "no test: ":
		e.How, e.Reason = NotTested, rest
	case "tested in ":
		e.How = Elsewhere
		e.Path, e.Spec, _ = strings.Cut(rest, ": ")
	default:
		return e.readTest(rest)
	}
	return nil
}

func (e *Example) readTest(text string) error {
	text, e.Prints, _ = strings.Cut(text, ", prints ")
	options := strings.Split(text, ", ")
	for prefix, how := range map[string]string{
		"runs as ": Runs, "applied by ": Applied, "file ": File, "is ": Is, "part of the spec of a policy": PolicyPart,
	} {
		if rest, ok := strings.CutPrefix(options[0], prefix); ok {
			e.How = how
			switch how {
			case Runs, Applied:
				e.Who = rest
			default:
				e.Path = rest
			}
		}
	}
	if e.How == "" {
		return fmt.Errorf("how is it tested? %q is not known", options[0])
	}
	for _, option := range options[1:] {
		if err := e.readOption(option); err != nil {
			return err
		}
	}
	return nil
}

func (e *Example) readOption(option string) (err error) {
	switch verb, rest, _ := strings.Cut(option, " "); {
	case option == "soon":
		e.Soon = true
	case option == "its time is in an hour":
		e.InAnHour = true
	case option == "then the manager starts", option == "then the manager stops":
		e.Manager = rest[len("the manager "):]
	case verb == "exits":
		e.Exit, err = strconv.Atoi(rest)
	default:
		err = fmt.Errorf("%q is not known", option)
	}
	return err
}
