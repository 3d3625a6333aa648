// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package story is the everyday story, as a script of commands that people type, each with
// his own client certificate, on whatever version of Kubernetes KUBEBUILDER_ASSETS has.
package story

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

const (
	// soonTimeout is for what takes some seconds, as README says: kinds and policies that
	// were installed a moment ago.
	soonTimeout = time.Minute
	soonPolling = 500 * time.Millisecond
	// lookPolling is how often somebody looks whether access is gone.
	lookPolling = 200 * time.Millisecond
)

var (
	plane *controlplane.ControlPlane
	// stamps says whether the API server fills in who asks and who decides.
	stamps bool
	// folder is that of the module, in which everybody types.
	folder string

	// alice is on call, bob leads, dave is of security, root is the cluster admin.
	alice, bob, dave, root *person
)

func TestStory(t *testing.T) {
	RegisterFailHandler(Fail)
	EnforceDefaultTimeoutsWhenUsingContexts()
	RunSpecs(t, "The everyday story")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	var err error
	folder, err = operator.Root()
	Expect(err).NotTo(HaveOccurred())
	for _, built := range []string{"manager", "kubectl-lapse"} {
		Expect(filepath.Join(folder, "bin", built)).To(BeAnExistingFile(), "run make build")
	}
	plane, err = controlplane.Start(ctx, controlplane.Options{ControllerManager: true})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() error { return plane.Stop() })
	stamps, err = operator.Stamps(plane.AdminConfig())
	Expect(err).NotTo(HaveOccurred())
	version, err := operator.Version(plane)
	Expect(err).NotTo(HaveOccurred())
	GinkgoWriter.Printf("Kubernetes %s, stamps: %t\n", version, stamps)

	root = enrol("root", "system:masters")
	alice = enrol("alice", "oncall")
	bob = enrol("bob", "sre-leads")
	dave = enrol("dave", "security")
}, NodeTimeout(3*time.Minute))

// person is somebody with a client certificate, a kubeconfig and a shell.
type person struct {
	name string
	env  []string
}

func enrol(name string, groups ...string) *person {
	GinkgoHelper()
	return &person{name: name, env: operator.NewHome(GinkgoTB(), plane, name, groups...)}
}

// types runs what somebody types, in bash at the root of the module, and prints it.
func (p *person) types(ctx context.Context, line string) operator.Typed {
	GinkgoHelper()
	r := p.runs(ctx, line)
	p.prints(line, r)
	return r
}

func (p *person) runs(ctx context.Context, line string) operator.Typed {
	GinkgoHelper()
	r, err := operator.Type(ctx, folder, p.env, line)
	Expect(err).NotTo(HaveOccurred())
	return r
}

func (p *person) prints(line string, r operator.Typed) {
	GinkgoWriter.Printf("\n%s$ %s\n", p.name, strings.ReplaceAll(line, "\n", "\n> "))
	for _, said := range []string{r.Stdout, r.Stderr} {
		if said = strings.TrimSpace(said); said != "" {
			GinkgoWriter.Println(said)
		}
	}
	GinkgoWriter.Printf("[exit %d]\n", r.Code)
}

// does types what has to go well, and returns what it said on stdout.
func (p *person) does(ctx context.Context, line string) string {
	GinkgoHelper()
	r := p.types(ctx, line)
	Expect(r.Code).To(BeZero(), "%s$ %s\n%s%s", p.name, line, r.Stdout, r.Stderr)
	return strings.TrimSpace(r.Stdout)
}

// doesSoon types it again until it goes well. What is the same as before is not printed.
func (p *person) doesSoon(ctx context.Context, line string) string {
	GinkgoHelper()
	var r operator.Typed
	Eventually(func() int {
		before := r
		if r = p.runs(ctx, line); r != before {
			p.prints(line, r)
		}
		return r.Code
	}).WithContext(ctx).WithTimeout(soonTimeout).WithPolling(soonPolling).Should(BeZero(), func() string { return r.Stdout + r.Stderr })
	return strings.TrimSpace(r.Stdout)
}

// failsTo types what has to end with exit code 1, and returns what it said on stderr.
func (p *person) failsTo(ctx context.Context, line string) string {
	GinkgoHelper()
	r := p.types(ctx, line)
	Expect(r.Code).To(Equal(1), "%s$ %s\n%s%s", p.name, line, r.Stdout, r.Stderr)
	return r.Stderr
}

func canI(what string) string { return "kubectl auth can-i " + what + " -n payments" }

// may asks the API server, which says yes or no.
func (p *person) may(ctx context.Context, what string) string {
	GinkgoHelper()
	return answer(p.types(ctx, canI(what)))
}

// answer is without the reason that may follow, as in "no - RBAC: …".
func answer(r operator.Typed) string {
	first, _, _ := strings.Cut(strings.TrimSpace(r.Stdout), " ")
	return first
}

// loses asks until the answer is no. It returns when the last question was put that was
// answered with yes, and when the answer no came: access ended between the two, which are
// far apart on a busy machine.
func (p *person) loses(ctx context.Context, what string) (lastYes, firstNo time.Time) {
	GinkgoHelper()
	Eventually(func() string {
		asked := time.Now()
		said := answer(p.runs(ctx, canI(what)))
		if said == "yes" {
			lastYes = asked
		}
		firstNo = time.Now()
		return said
	}).WithContext(ctx).WithTimeout(soonTimeout).WithPolling(lookPolling).Should(Equal("no"))
	Expect(p.may(ctx, what)).To(Equal("no"))
	return lastYes, firstNo
}
