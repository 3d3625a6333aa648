// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
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

func TestTheClusterIsCalledByTheContext(t *testing.T) {
	kubeconfig := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(kubeconfig, []byte(`apiVersion: v1
kind: Config
current-context: prod-eu
contexts:
- {name: prod-eu, context: {cluster: prod, user: bob}}
- {name: staging, context: {cluster: staging, user: bob}}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"": "prod-eu", "--context staging": "staging", "--cluster prod --context staging": "prod", "--user alice": "prod-eu",
		"--server https://127.0.0.1:6443": "", "--kubeconfig /there/is/none": "",
	} {
		flags, config := pflag.NewFlagSet("lapse", pflag.ContinueOnError), &configFlags{}
		config.addTo(flags)
		if err := flags.Parse(append([]string{"--kubeconfig", kubeconfig}, strings.Fields(args)...)); err != nil {
			t.Fatal(err)
		}
		if got := config.clusterName(); got != want {
			t.Errorf("%s: %q, want %q", args, got, want)
		}
	}
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
