// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cli drives the built kubectl-lapse as separate users with kubeconfigs of
// their own, against a real control plane and the manager binary.
package cli

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
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

// Exit codes that the plugin promises.
const (
	codeOK      = 0
	codeFailed  = 1
	codeRefused = 2
	codeUnknown = 3
)

const namespace = "payments"

var (
	plane *controlplane.ControlPlane
	// bare is a control plane on which nothing is installed.
	bare  *controlplane.ControlPlane
	admin client.Client
	// stamps says whether the API server fills in who asks.
	stamps bool
	bin    string // folder of the plugin
	homes  string // folder of everybody's kubeconfigs

	// alice and abby ask; abby may read no policies. bob leads, dave is of security.
	alice, abby, bob, dave, nobody, root *person
	manager                              *operator.Manager
)

func TestPlugin(t *testing.T) {
	RegisterFailHandler(Fail)
	EnforceDefaultTimeoutsWhenUsingContexts()
	SetDefaultEventuallyTimeout(20 * time.Second)
	SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	RunSpecs(t, "kubectl lapse")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	folder, err := operator.Root()
	Expect(err).NotTo(HaveOccurred())
	bin = filepath.Join(folder, "bin")
	Expect(filepath.Join(bin, "kubectl-lapse")).To(BeAnExistingFile(), "run make build")
	homes = GinkgoT().TempDir()
	GinkgoT().Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))

	bare, err = controlplane.Start(ctx, controlplane.Options{})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() error { return bare.Stop() })
	plane = operator.NewPlane(ctx, GinkgoTB(), controlplane.Options{ControllerManager: true})
	stamps, err = operator.Stamps(plane.AdminConfig())
	Expect(err).NotTo(HaveOccurred())
	Expect(operator.Apply(ctx, plane, plane.AdminConfig(), "-k", "config/samples")).To(Succeed())
	admin = operator.NewClient(GinkgoTB(), plane.AdminConfig())
	// What an admin does who does not hide his policies.
	Expect(admin.Create(ctx, builders.ClusterBinding("readers", "lapse-auditor", builders.Group("readers")))).To(Succeed())

	root = enrol(plane, "root", "system:masters")
	alice = enrol(plane, "alice", "oncall", "readers")
	abby = enrol(plane, "abby", "oncall")
	bob = enrol(plane, "bob", "sre-leads", "readers")
	dave = enrol(plane, "dave", "security")
	nobody = enrol(plane, "nobody")

	manager = operator.NewManager(ctx, GinkgoTB(), plane, GinkgoWriter, "--leader-elect")
}, NodeTimeout(3*time.Minute))

// admissionSettles waits until requests are granted again after a policy was away.
func admissionSettles(ctx context.Context) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		name := "settled-" + time.Now().Format("150405.000")
		r := alice.lapse(ctx, "request", "edit", "--name", name, "--for", "1m", "--reason", "INC-1: is admission settled?",
			"--wait", "--timeout", "3s")
		g.Expect(r.code).To(Equal(codeOK), r.stderr)
		g.Expect(alice.lapse(ctx, "return", name).code).To(Equal(codeOK))
	}).WithContext(ctx).WithTimeout(30 * time.Second).WithPolling(500 * time.Millisecond).Should(Succeed())
}

// person is a user with a client certificate and a kubeconfig.
type person struct {
	config *rest.Config
	env    []string
}

// enrol gives somebody a kubeconfig whose namespace is payments.
func enrol(on *controlplane.ControlPlane, name string, groups ...string) *person {
	GinkgoHelper()
	config, err := on.User(name, groups...)
	Expect(err).NotTo(HaveOccurred())
	return withKubeconfig(name, config)
}

func withKubeconfig(name string, config *rest.Config) *person {
	GinkgoHelper()
	home, err := os.MkdirTemp(homes, name+"-")
	Expect(err).NotTo(HaveOccurred())
	file := filepath.Join(home, "kubeconfig")
	data, err := controlplane.Kubeconfig(config)
	Expect(err).NotTo(HaveOccurred())
	inNamespace := strings.Replace(string(data), "    user: lapse\n", "    namespace: "+namespace+"\n    user: lapse\n", 1)
	Expect(inNamespace).To(ContainSubstring("namespace: " + namespace))
	Expect(os.WriteFile(file, []byte(inNamespace), 0o600)).To(Succeed())
	return &person{config: config, env: []string{"HOME=" + home, "KUBECONFIG=" + file, "PATH=" + os.Getenv("PATH")}}
}

// result is what a command printed, and its exit code.
type result struct {
	stdout, stderr string
	code           int
}

// command is the plugin, run by itself.
func (p *person) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "kubectl-lapse"), args...)
	cmd.Env = p.env
	return cmd
}

// lapse runs the plugin to its end.
func (p *person) lapse(ctx context.Context, args ...string) result {
	GinkgoHelper()
	return finish(p.command(ctx, args...))
}

func finish(cmd *exec.Cmd) result {
	GinkgoHelper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	return result{code: exitCode(cmd.Run()), stdout: stdout.String(), stderr: stderr.String()}
}

func exitCode(err error) int {
	GinkgoHelper()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	Expect(err).NotTo(HaveOccurred())
	return codeOK
}

// kubectl runs kubectl, which finds the plugin on PATH.
func (p *person) kubectl(ctx context.Context, args ...string) result {
	GinkgoHelper()
	stdout, stderr, err := plane.Kubectl(ctx, p.config, args...)
	return result{code: exitCode(err), stdout: stdout, stderr: stderr}
}

// must runs the plugin, which has to end well, and returns stdout.
func (p *person) must(ctx context.Context, args ...string) string {
	GinkgoHelper()
	r := p.lapse(ctx, args...)
	Expect(r.code).To(Equal(codeOK), "kubectl lapse %s\n%s%s", strings.Join(args, " "), r.stdout, r.stderr)
	return r.stdout
}

// asks creates a request and returns its name.
func (p *person) asks(ctx context.Context, args ...string) string {
	GinkgoHelper()
	r := p.lapse(ctx, append([]string{"request"}, args...)...)
	Expect(r.stdout).To(HavePrefix("accessrequest.lapse.dev/"), r.stderr)
	name := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(r.stdout), "accessrequest.lapse.dev/"), " created")
	DeferCleanup(func(ctx SpecContext) { _ = root.lapse(ctx, "revoke", name, "--reason", "the spec is over") })
	return name
}

// mayCreate says whether the API server lets somebody create something in payments.
func (p *person) mayCreate(ctx context.Context, resource string) bool {
	GinkgoHelper()
	return strings.TrimSpace(p.kubectl(ctx, "auth", "can-i", "create", resource, "-n", namespace).stdout) == "yes"
}
