// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package story is the everyday story, as a script of commands that people type, each with
// his own client certificate, on whatever version of Kubernetes KUBEBUILDER_ASSETS has.
package story

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
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
	// pipeDelay is how long what a killed shell has started may hold its output open.
	pipeDelay = 5 * time.Second
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

// enrol gives somebody a home with a kubeconfig in it, and a PATH with the kubectl of the
// control plane and the plugin.
func enrol(name string, groups ...string) *person {
	GinkgoHelper()
	config, err := plane.User(name, groups...)
	Expect(err).NotTo(HaveOccurred())
	home := GinkgoT().TempDir()
	kubeconfig := filepath.Join(home, "kubeconfig")
	Expect(controlplane.WriteKubeconfig(kubeconfig, config)).To(Succeed())
	kubectl, err := filepath.Abs(plane.KubectlPath())
	Expect(err).NotTo(HaveOccurred())
	bin := filepath.Join(home, "bin")
	Expect(os.Mkdir(bin, 0o700)).To(Succeed())
	Expect(os.Symlink(kubectl, filepath.Join(bin, "kubectl"))).To(Succeed())
	path := strings.Join([]string{bin, filepath.Join(folder, "bin"), os.Getenv("PATH")}, string(os.PathListSeparator))
	return &person{name: name, env: []string{"HOME=" + home, "KUBECONFIG=" + kubeconfig, "PATH=" + path}}
}

// result is what a command printed, and its exit code.
type result struct {
	stdout, stderr string
	code           int
}

// types runs what somebody types, in bash at the root of the module, and prints it.
func (p *person) types(ctx context.Context, line string) result {
	GinkgoHelper()
	r := p.runs(ctx, line)
	p.prints(line, r)
	return r
}

func (p *person) runs(ctx context.Context, line string) result {
	GinkgoHelper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", line)
	cmd.Dir, cmd.Env, cmd.WaitDelay = folder, p.env, pipeDelay
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); !ended {
		Expect(err).NotTo(HaveOccurred())
	}
	return result{stdout: stdout.String(), stderr: stderr.String(), code: cmd.ProcessState.ExitCode()}
}

func (p *person) prints(line string, r result) {
	GinkgoWriter.Printf("\n%s$ %s\n", p.name, strings.ReplaceAll(line, "\n", "\n> "))
	for _, said := range []string{r.stdout, r.stderr} {
		if said = strings.TrimSpace(said); said != "" {
			GinkgoWriter.Println(said)
		}
	}
	GinkgoWriter.Printf("[exit %d]\n", r.code)
}

// does types what has to go well, and returns what it said on stdout.
func (p *person) does(ctx context.Context, line string) string {
	GinkgoHelper()
	r := p.types(ctx, line)
	Expect(r.code).To(BeZero(), "%s$ %s\n%s%s", p.name, line, r.stdout, r.stderr)
	return strings.TrimSpace(r.stdout)
}

// doesSoon types it again until it goes well. What is the same as before is not printed.
func (p *person) doesSoon(ctx context.Context, line string) string {
	GinkgoHelper()
	var r result
	Eventually(func() int {
		before := r
		if r = p.runs(ctx, line); r != before {
			p.prints(line, r)
		}
		return r.code
	}).WithContext(ctx).WithTimeout(soonTimeout).WithPolling(soonPolling).Should(BeZero(), func() string { return r.stdout + r.stderr })
	return strings.TrimSpace(r.stdout)
}

// failsTo types what has to end with exit code 1, and returns what it said on stderr.
func (p *person) failsTo(ctx context.Context, line string) string {
	GinkgoHelper()
	r := p.types(ctx, line)
	Expect(r.code).To(Equal(1), "%s$ %s\n%s%s", p.name, line, r.stdout, r.stderr)
	return r.stderr
}

func canI(what string) string { return "kubectl auth can-i " + what + " -n payments" }

// may asks the API server, which says yes or no.
func (p *person) may(ctx context.Context, what string) string {
	GinkgoHelper()
	return answer(p.types(ctx, canI(what)))
}

// answer is without the reason that may follow, as in "no - RBAC: …".
func answer(r result) string {
	first, _, _ := strings.Cut(strings.TrimSpace(r.stdout), " ")
	return first
}

// loses asks until the answer is no. It returns when the last question was put that was
// answered with yes; access was there at that time or later.
func (p *person) loses(ctx context.Context, what string) time.Time {
	GinkgoHelper()
	var lastYes time.Time
	Eventually(func() string {
		asked := time.Now()
		said := answer(p.runs(ctx, canI(what)))
		if said == "yes" {
			lastYes = asked
		}
		return said
	}).WithContext(ctx).WithTimeout(soonTimeout).WithPolling(lookPolling).Should(Equal("no"))
	Expect(p.may(ctx, what)).To(Equal("no"))
	return lastYes
}
