// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"bufio"
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

const namespace = "payments"

var (
	plane   *controlplane.ControlPlane
	manager *operator.Manager
	admin   client.Client
	// folder is that of the module, and axe the source of axe-core.
	folder string
	axe    string
)

func TestPages(t *testing.T) {
	RegisterFailHandler(Fail)
	EnforceDefaultTimeoutsWhenUsingContexts()
	SetDefaultEventuallyTimeout(20 * time.Second)
	SetDefaultEventuallyPollingInterval(50 * time.Millisecond)
	RunSpecs(t, "kubectl lapse ui")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	var err error
	folder, err = operator.Root()
	Expect(err).NotTo(HaveOccurred())
	Expect(filepath.Join(folder, "bin", "kubectl-lapse")).To(BeAnExistingFile(), "run make build")
	source, err := os.ReadFile(filepath.Join("node_modules", "axe-core", "axe.min.js"))
	Expect(err).NotTo(HaveOccurred(), "run npm ci in test/ui")
	axe = string(source)

	plane = operator.NewPlane(ctx, GinkgoTB(), controlplane.Options{ControllerManager: true})
	Expect(operator.Apply(ctx, plane, plane.AdminConfig(), "-k", "config/samples")).To(Succeed())
	admin = operator.NewClient(GinkgoTB(), plane.AdminConfig())
	// What an admin does who lets approvers look at all namespaces.
	Expect(admin.Create(ctx, builders.ClusterBinding("leads-look", "lapse-approver", builders.Group("sre-leads")))).To(Succeed())
	grants(ctx)
	DeferCleanup(func() error { return manager.Stop() }) // whichever is the last
}, NodeTimeout(3*time.Minute))

// grants starts the operator.
func grants(ctx context.Context) {
	GinkgoHelper()
	var err error
	manager, err = operator.Start(ctx, plane, GinkgoWriter, "--leader-elect")
	Expect(err).NotTo(HaveOccurred())
}

// Each story begins with nobody who asks for anything.
var _ = AfterEach(OncePerOrdered, func(ctx SpecContext) {
	Expect(admin.DeleteAllOf(ctx, &v1alpha1.AccessRequest{}, client.InNamespace(namespace))).To(Succeed())
}, NodeTimeout(2*time.Minute))

// person has a kubeconfig, and a page of his own.
type person struct {
	name string
	env  []string
	// ends what he started last, as he would.
	ends func()
}

func enrol(name string, groups ...string) *person {
	GinkgoHelper()
	return &person{name: name, env: operator.NewHome(GinkgoTB(), plane, name, groups...)}
}

// serves starts the plugin, and returns the address that it prints, which works once.
func (p *person) serves() (address string) {
	GinkgoHelper()
	cmd := exec.Command(filepath.Join(folder, "bin", "kubectl-lapse"), "ui", "--no-browser", "-n", namespace) //nolint:noctx // it ends with the spec
	cmd.Env, cmd.Stderr = p.env, GinkgoWriter
	out, err := cmd.StdoutPipe()
	Expect(err).NotTo(HaveOccurred())
	Expect(cmd.Start()).To(Succeed())
	p.ends = sync.OnceFunc(func() {
		Expect(cmd.Process.Signal(syscall.SIGINT)).To(Succeed())
		Expect(cmd.Wait()).To(Succeed(), "Ctrl-C ends it")
	})
	DeferCleanup(p.ends)
	line, err := bufio.NewReader(out).ReadString('\n')
	Expect(err).NotTo(HaveOccurred())
	address = strings.TrimSpace(line)
	at, err := url.Parse(address)
	Expect(err).NotTo(HaveOccurred())
	Expect(at.Hostname()).To(Equal("127.0.0.1"))
	return address
}

// request is one as its author would write it.
func request(name, role, reason string) *v1alpha1.AccessRequest {
	return builders.Request(name).In(namespace).ForClusterRole(role).Because(reason).Build()
}

// asks makes a request.
func asks(ctx context.Context, as client.Client, name, role, reason string) {
	GinkgoHelper()
	Expect(as.Create(ctx, request(name, role, reason))).To(Succeed())
}
