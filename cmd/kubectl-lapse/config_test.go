// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"testing"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"
)

// TestFlagsAreThoseOfKubectl compares with the library that kubectl takes them from.
func TestFlagsAreThoseOfKubectl(t *testing.T) {
	want, got := pflag.NewFlagSet("kubectl", pflag.ContinueOnError), pflag.NewFlagSet("lapse", pflag.ContinueOnError)
	genericclioptions.NewConfigFlags(true).AddFlags(want)
	(&configFlags{}).addTo(got)
	want.VisitAll(func(w *pflag.Flag) {
		g := got.Lookup(w.Name)
		if g == nil || g.Shorthand != w.Shorthand || g.Value.Type() != w.Value.Type() || g.NoOptDefVal != w.NoOptDefVal {
			t.Errorf("--%s is %+v, and %+v in kubectl", w.Name, g, w)
		}
	})
	got.VisitAll(func(g *pflag.Flag) {
		if want.Lookup(g.Name) == nil {
			t.Errorf("--%s is no flag of kubectl's", g.Name)
		}
	})
}

// TestFormatsAreThoseOfKubectl compares with the library that kubectl takes them from.
func TestFormatsAreThoseOfKubectl(t *testing.T) {
	for _, format := range []string{"json", "yaml", "name", "jsonpath={.kind}", "jsonpath-as-json={.kind}"} {
		flags := genericclioptions.NewPrintFlags("created")
		*flags.OutputFormat = format
		want, err := flags.ToPrinter()
		if err != nil {
			t.Fatal(err)
		}
		o := newOutput("created")
		o.value, o.missingKeys = format, true
		got, err := o.printer()
		if err != nil {
			t.Fatal(err)
		}
		for _, req := range gallery() {
			req.Kind, req.APIVersion = "AccessRequest", "lapse.dev/v1alpha1"
			if a, b := rendered(t, want, &req), rendered(t, got, &req); a != b {
				t.Errorf("-o %s prints\n%s\nand kubectl\n%s", format, b, a)
			}
		}
	}
}

func rendered(t *testing.T, printer printers.ResourcePrinter, obj runtime.Object) string {
	t.Helper()
	var b bytes.Buffer
	if err := printer.PrintObj(obj, &b); err != nil {
		return err.Error() // YAML has no way to write some characters
	}
	return b.String()
}
