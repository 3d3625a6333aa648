// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package examples

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/yaml"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/docs/page"
	"github.com/lapse-dev/lapse/test/operator"
)

// pages are those of which examples are run. Some begin with a cluster that has nothing of
// Lapse, others with Lapse and the samples.
var pages = []struct {
	name    string
	nothing bool
	// anyVersion is whether the examples work where nothing is stamped.
	anyVersion bool
}{
	{name: "README.md", nothing: true},
	{name: "docs/getting-started.md", nothing: true},
	{name: "docs/policies.md"},
	{name: "docs/gitops.md"},
	{name: "docs/compatibility.md", anyVersion: true},
	{name: "docs/operations.md", anyVersion: true},
	{name: "docs/troubleshooting.md", anyVersion: true},
}

// timestamp is a time in an example.
var timestamp = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)

var _ = Describe("The examples", func() {
	root, err := operator.Root()
	if err != nil {
		panic(err)
	}
	for _, p := range pages {
		examples, err := page.Examples(root, p.name)
		if err != nil {
			panic(err)
		}
		Describe("of "+p.name, Ordered, func() {
			var r *reader
			BeforeAll(func(ctx SpecContext) {
				r = newReader(ctx)
				stamps, err := operator.Stamps(r.plane.AdminConfig())
				Expect(err).NotTo(HaveOccurred())
				// On the newest version, which is tested for each change, nothing is left out.
				if !stamps && !p.anyVersion {
					Skip("nothing is stamped: whoever asks names himself, as docs/compatibility.md says")
				}
				if p.nothing {
					return
				}
				Expect(operator.Install(ctx, r.plane)).To(Succeed())
				r.startManager(ctx)
				Expect(operator.Apply(ctx, r.plane, r.plane.AdminConfig(), "-k", "config/samples")).To(Succeed())
			}, NodeTimeout(3*time.Minute))

			for _, e := range examples {
				if does := e.How; does == page.Runs || does == page.Applied || does == page.File || does == page.PolicyPart {
					It(fmt.Sprintf("%s: line %d", does, e.Line), func(ctx SpecContext) { r.follows(ctx, e) }, SpecTimeout(2*time.Minute))
				}
			}
		})
	}
})

// follows does what an example says.
func (r *reader) follows(ctx context.Context, e *page.Example) {
	GinkgoHelper()
	By(e.String())
	switch e.How {
	case page.Runs:
		r.runs(ctx, e)
	case page.Applied:
		r.writes("applied.yaml", e)
		said, code := r.types(ctx, e.Who, "kubectl apply -f applied.yaml\n")
		Expect(code).To(BeZero(), said)
	case page.File:
		r.writes(e.Path, e)
	case page.PolicyPart:
		r.offers(ctx, e)
	}
}

func (r *reader) runs(ctx context.Context, e *page.Example) {
	GinkgoHelper()
	timeout := time.Duration(0)
	if e.Soon {
		timeout = soonTimeout
	}
	Eventually(func(g Gomega) {
		said, code := r.types(ctx, e.Who, e.Text)
		g.Expect(code).To(Equal(e.Exit), said)
		g.Expect(said).To(ContainSubstring(e.Prints))
	}).WithContext(ctx).WithTimeout(timeout).WithPolling(soonPolling).Should(Succeed())
	switch e.Manager {
	case "starts":
		r.startManager(ctx)
	case "stops":
		Expect(r.stopManager()).To(Succeed())
	}
}

// writes makes a file of an example, where commands below it look for it.
func (r *reader) writes(name string, e *page.Example) {
	GinkgoHelper()
	text := e.Text
	if e.InAnHour {
		Expect(text).To(MatchRegexp(timestamp.String()))
		text = timestamp.ReplaceAllString(text, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}
	file := filepath.Join(r.folder, filepath.FromSlash(name))
	Expect(os.MkdirAll(filepath.Dir(file), 0o700)).To(Succeed())
	Expect(os.WriteFile(file, []byte(text), 0o600)).To(Succeed())
}

// offers puts a part of the spec into a policy. The API server has to take that, and its
// conditions have to compile.
func (r *reader) offers(ctx context.Context, e *page.Example) {
	GinkgoHelper()
	whole := builders.Policy("example").Allowing("view").In("payments").Build()
	Expect(yaml.UnmarshalStrict([]byte(e.Text), &whole.Spec)).To(Succeed())
	roles := func(v1alpha1.RoleRef) (policy.Role, bool, error) { return policy.Role{}, true, nil }
	Expect(policy.Compile(whole).Problems(roles)).To(BeEmpty())
	whole.APIVersion, whole.Kind = v1alpha1.GroupVersion.String(), "AccessPolicy"
	text, err := yaml.Marshal(whole)
	Expect(err).NotTo(HaveOccurred())
	said, code := r.types(ctx, "root", "kubectl create --dry-run=server -f - <<'EOF'\n"+strings.TrimSpace(string(text))+"\nEOF\n")
	Expect(code).To(BeZero(), said)
}
