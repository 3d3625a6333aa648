// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package flux has Flux's kustomize-controller apply policies and requests, as it would from
// Git. There is no source-controller: the test serves what lies in Git, and says so in the
// status of a source. It needs bin/kustomize-controller: make test-flux.
package flux

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

const (
	// home is the namespace of Flux, of its accounts and of what tells it what to apply.
	home = "flux-system"
	// account is Flux's own. As Flux installs it, it is a cluster admin.
	account = "kustomize-controller"
	// platform is the account that applies policies: it may bind the roles that they offer.
	platform = "platform"
	// deployer and applier are accounts that apply requests, and may do nothing else.
	deployer, applier = "deployer", "applier"
)

var (
	plane *controlplane.ControlPlane
	// admin sets things up and looks; what it may do proves nothing.
	admin client.Client
	flux  *operator.GitOps
)

func TestFlux(t *testing.T) {
	RegisterFailHandler(Fail)
	EnforceDefaultTimeoutsWhenUsingContexts()
	SetDefaultEventuallyTimeout(time.Minute)
	SetDefaultEventuallyPollingInterval(100 * time.Millisecond)
	RunSpecs(t, "Lapse with Flux")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	log.SetLogger(zap.New(zap.WriteTo(GinkgoWriter)))
	plane = operator.NewPlane(ctx, GinkgoTB(), controlplane.Options{ControllerManager: true})
	admin = operator.NewClient(GinkgoTB(), plane.AdminConfig())
	installKinds(ctx)
	flux = operator.NewGitOps(ctx, GinkgoTB(), plane, home, account, platform, deployer, applier)
	create(ctx, builders.ClusterBinding("flux-platform", "cluster-admin", builders.ServiceAccount(home, platform)))
	operator.NewManager(ctx, GinkgoTB(), plane, GinkgoWriter, "--retention=1s")
}, NodeTimeout(3*time.Minute))

func create(ctx context.Context, objects ...client.Object) {
	GinkgoHelper()
	operator.Create(ctx, GinkgoTB(), admin, objects...)
}

// decided waits until a request has a reason, and returns what it says.
func decided(ctx context.Context, req *v1alpha1.AccessRequest, reason string) string {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(Succeed())
		g.Expect(operator.Reason(req)).To(Equal(reason), req.Name)
	}).WithContext(ctx).Should(Succeed())
	return meta.FindStatusCondition(req.Status.Conditions, v1alpha1.ConditionReady).Message
}

// holds asks the API server whether somebody has what the role reader allows.
func holds(ctx context.Context, who, ns string) (bool, error) {
	return operator.Allowed(ctx, admin, who, "get", "configmaps", ns)
}
