// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package examples runs the examples of the documentation, page by page, each on a control
// plane of its own: what stands in a page is what is run. How an example is run, the
// comment above it says; see test/docs/page.
package examples

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

const (
	// soonTimeout is for what takes some seconds, such as kinds that were installed a
	// moment ago.
	soonTimeout = time.Minute
	soonPolling = 500 * time.Millisecond
)

// groups are those of the people on the pages.
var groups = map[string][]string{
	"root": {"system:masters"}, "alice": {"oncall"}, "bob": {"sre-leads"}, "dave": {"security"}, "paul": {"policy-authors"},
}

func TestExamples(t *testing.T) {
	RegisterFailHandler(Fail)
	log.SetLogger(zap.New(zap.WriteTo(GinkgoWriter)))
	EnforceDefaultTimeoutsWhenUsingContexts()
	RunSpecs(t, "The examples of the documentation")
}

// reader is somebody who types what stands on a page, in a folder with a copy of config/.
type reader struct {
	plane   *controlplane.ControlPlane
	manager *operator.Manager
	folder  string
	// homes has one for each of the people.
	homes string
	// environments of the people, by their names.
	environments map[string][]string
}

func newReader(ctx context.Context) *reader {
	GinkgoHelper()
	root, err := operator.Root()
	Expect(err).NotTo(HaveOccurred())
	for _, built := range []string{"manager", "kubectl-lapse", "gojq"} {
		Expect(filepath.Join(root, "bin", built)).To(BeAnExistingFile(), "run make build bin/gojq")
	}
	r := &reader{folder: GinkgoT().TempDir(), homes: GinkgoT().TempDir(), environments: map[string][]string{}}
	Expect(os.CopyFS(filepath.Join(r.folder, "config"), os.DirFS(filepath.Join(root, "config")))).To(Succeed())
	r.plane, err = controlplane.Start(ctx, controlplane.Options{ControllerManager: true})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() error { return errors.Join(r.stopManager(), r.plane.Stop()) })
	return r
}

func (r *reader) startManager(ctx context.Context) {
	GinkgoHelper()
	var err error
	r.manager, err = operator.Start(ctx, r.plane, GinkgoWriter, "--leader-elect")
	Expect(err).NotTo(HaveOccurred())
}

func (r *reader) stopManager() error {
	if r.manager == nil {
		return nil
	}
	return r.manager.Stop()
}

// config is that of a person; a name with a slash is that of a ServiceAccount.
func (r *reader) config(ctx context.Context, who string) *rest.Config {
	GinkgoHelper()
	if namespace, account, ok := strings.Cut(who, "/"); ok {
		config, err := r.plane.ServiceAccountConfig(ctx, namespace, account)
		Expect(err).NotTo(HaveOccurred())
		return config
	}
	Expect(groups).To(HaveKey(who))
	config, err := r.plane.User(who, groups[who]...)
	Expect(err).NotTo(HaveOccurred())
	return config
}

// environment has a home with a kubeconfig in it, and a PATH with the kubectl of the
// control plane, the plugin and jq. The one of nobody has no kubeconfig.
func (r *reader) environment(ctx context.Context, who string) []string {
	GinkgoHelper()
	if env := r.environments[who]; env != nil {
		return env
	}
	home := filepath.Join(r.homes, strings.ReplaceAll(who, "/", "-"))
	var config *rest.Config
	if who != "nobody" {
		config = r.config(ctx, who)
	}
	env, err := operator.Home(r.plane, home, config)
	Expect(err).NotTo(HaveOccurred())
	root, err := operator.Root()
	Expect(err).NotTo(HaveOccurred())
	Expect(os.Symlink(filepath.Join(root, "bin", "gojq"), filepath.Join(home, "bin", "jq"))).To(Succeed())
	r.environments[who] = env
	return env
}

// types has somebody type commands in bash, and returns what they print and their exit code.
func (r *reader) types(ctx context.Context, who, commands string) (printed string, code int) {
	GinkgoHelper()
	said, err := operator.Type(ctx, r.folder, r.environment(ctx, who), "exec 2>&1\n"+commands)
	Expect(err).NotTo(HaveOccurred())
	GinkgoWriter.Printf("\n%s$ %s%s[exit %d]\n", who, commands, said.Stdout, said.Code)
	return said.Stdout, said.Code
}
