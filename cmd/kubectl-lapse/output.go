// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"
)

const (
	outputJSON    = "json"
	outputWide    = "wide"
	outputColumns = "custom-columns"
)

// output is the flag -o.
type output struct {
	*genericclioptions.PrintFlags
	extra []string // formats besides those of PrintFlags
}

// newOutput has an operation, such as "created", for when there is no -o.
func newOutput(operation string, extra ...string) *output {
	flags := genericclioptions.NewPrintFlags(operation)
	*flags.OutputFormat = ""
	return &output{PrintFlags: flags, extra: extra}
}

func (o *output) addTo(cmd *cobra.Command) {
	o.AddFlags(cmd)
	f := cmd.Flag("output")
	formats := o.formats()
	f.Usage = "Output format. One of: " + strings.Join(formats, ", ") + "."
	// The flag cannot be registered twice, and it is registered here alone.
	cobra.CheckErr(cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)))
}

func (o *output) formats() []string {
	formats := append(o.AllowedFormats(), o.extra...)
	slices.Sort(formats)
	return formats
}

func (o *output) format() string { return *o.OutputFormat }

// human says whether nothing but a person is meant to read it.
func (o *output) human() bool { return o.format() == "" || o.format() == outputWide }

// printer for the format.
func (o *output) printer() (printers.ResourcePrinter, error) {
	if columns, custom := strings.CutPrefix(o.format(), outputColumns); custom && slices.Contains(o.extra, outputColumns) {
		return newColumns(strings.TrimPrefix(columns, "="))
	}
	printer, err := o.ToPrinter()
	if genericclioptions.IsNoCompatiblePrinterError(err) {
		return nil, fmt.Errorf("-o %s is not known; use one of %s", o.format(), strings.Join(o.formats(), ", "))
	}
	return printer, err
}

// print writes an object to stdout.
func (p *plugin) print(o *output, obj runtime.Object) error {
	printer, err := o.printer()
	if err != nil {
		return err
	}
	var raw bytes.Buffer
	if err := printAll(printer, o, obj, &raw); err != nil {
		return err
	}
	return writeSafe(p.Out, raw.String(), o.format() == outputJSON)
}

// printAll prints a list with the printer of names, which takes one at a time.
func printAll(printer printers.ResourcePrinter, o *output, obj runtime.Object, w io.Writer) error {
	if o.format() != "name" || !meta.IsListType(obj) {
		return printer.PrintObj(obj, w)
	}
	return meta.EachListItem(obj, func(item runtime.Object) error { return printer.PrintObj(item, w) })
}

// writeSafe writes what a printer made. JSON keeps its meaning: what a terminal
// might act upon can only stand inside of a string, where \u says the same. In any
// other format a mark takes its place.
func writeSafe(w io.Writer, text string, isJSON bool) error {
	if isJSON {
		text = escapeJSON(text)
	} else {
		text = safeLines(text)
	}
	_, err := io.WriteString(w, text)
	return err
}

func escapeJSON(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r == '\n' || r == '\t' || printable(r) == r {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}
