// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/printers"

	"github.com/lapse-dev/lapse/internal/text"
)

// Formats of -o. Those that end in = take what follows.
const (
	outputJSON     = "json"
	outputYAML     = "yaml"
	outputName     = "name"
	outputWide     = "wide"
	outputColumns  = "custom-columns"
	outputJSONPath = "jsonpath"
)

// outputFormats are those of kubectl without go-template: a template may name any method, so
// that the linker would have to keep all there are, a fifth of the plugin.
var outputFormats = []string{outputColumns + "=", outputJSON, outputJSONPath + "=", outputJSONPath + "-as-json=", outputJSONPath + "-file=", outputName, outputYAML}

// output is the flag -o, as kubectl has it, over the printers that kubectl has.
type output struct {
	// operation is what was done, such as "created", said when there is no -o.
	operation   string
	formats     []string
	value       string
	managed     bool
	missingKeys bool
}

func newOutput(operation string, more ...string) *output {
	return &output{operation: operation, formats: slices.Sorted(slices.Values(append(more, outputFormats...)))}
}

func (o *output) addTo(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&o.value, "output", "o", "", "Output format. One of: "+strings.Join(o.formats, ", ")+".")
	f.BoolVar(&o.managed, "show-managed-fields", false, "If true, keep the managedFields when printing objects in JSON or YAML format.")
	f.BoolVar(&o.missingKeys, "allow-missing-template-keys", true, "If true, ignore any errors in templates when a field or map key is missing in the template. Only applies to jsonpath output formats.")
	register(cmd, "output", func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return offer(o.formats, typed), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	})
}

// human says whether nothing but a person is meant to read it.
func (o *output) human() bool { return o.value == "" || o.value == outputWide }

// printer for the format. A command line that cannot be meant is an error.
func (o *output) printer() (printers.ResourcePrinter, error) {
	format, argument, _ := strings.Cut(o.value, "=")
	file := strings.HasSuffix(format, "-file")
	if file {
		content, err := os.ReadFile(argument)
		if err != nil {
			return nil, err
		}
		format, argument = strings.TrimSuffix(format, "-file"), string(content)
	}
	switch format {
	case "", outputName:
		return &printers.NamePrinter{Operation: o.operation, ShortOutput: format == outputName}, nil
	case outputJSON:
		return o.whole(&printers.JSONPrinter{}), nil
	case outputYAML:
		return o.whole(&printers.YAMLPrinter{}), nil
	case outputColumns:
		return newColumns(argument)
	case outputJSONPath, outputJSONPath + "-as-json":
		return o.template(format, argument)
	default:
		return nil, fmt.Errorf("-o %s is not known; use one of %s", o.value, strings.Join(o.formats, ", "))
	}
}

// whole prints all of an object but its managed fields.
func (o *output) whole(printer printers.ResourcePrinter) printers.ResourcePrinter {
	if o.managed {
		return printer
	}
	return &printers.OmitManagedFieldsPrinter{Delegate: printer}
}

func (o *output) template(format, text string) (printers.ResourcePrinter, error) {
	if text == "" {
		return nil, errors.New("-o " + format + " needs a template, such as -o jsonpath={.metadata.name}")
	}
	printer, err := printers.NewJSONPathPrinter(text)
	if err == nil {
		printer.AllowMissingKeys(o.missingKeys)
		printer.EnableJSONOutput(format != outputJSONPath)
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
	return writeSafe(p.Out, raw.String(), o.value == outputJSON)
}

// printAll prints a list with the printer of names, which takes one at a time.
func printAll(printer printers.ResourcePrinter, o *output, obj runtime.Object, w io.Writer) error {
	if o.value != outputName || !meta.IsListType(obj) {
		return printer.PrintObj(obj, w)
	}
	return meta.EachListItem(obj, func(item runtime.Object) error { return printer.PrintObj(item, w) })
}

// writeSafe writes what a printer made. JSON keeps its meaning: what a terminal
// might act upon can only stand inside of a string, where \u says the same. In any
// other format a mark takes its place.
func writeSafe(w io.Writer, written string, isJSON bool) error {
	if isJSON {
		written = text.JSON(written)
	} else {
		written = text.Printable(written, "\n\t")
	}
	_, err := io.WriteString(w, written)
	return err
}

// writeJSON writes what is no object of Kubernetes.
func writeJSON(w io.Writer, value any) error {
	written, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return writeSafe(w, string(written)+"\n", true)
}

// safeWriter is for what a library writes by itself, such as the API server's warnings.
type safeWriter struct{ io.Writer }

func (w safeWriter) Write(b []byte) (int, error) {
	_, err := io.WriteString(w.Writer, text.Printable(string(b), "\n\t"))
	return len(b), err
}
