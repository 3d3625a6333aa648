// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package argocd applies policies and requests, compares them with Git and prunes them by what
// Argo CD does that with, its library gitops-engine. There is no Argo CD: the tests do what its
// controller has that library do.
package argocd

import (
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

const (
	home = "argocd"
	// account is Argo CD's own. As Argo CD installs it, it is a cluster admin.
	account = "argocd-application-controller"
	// deployer is one that it impersonates: it may ask, and do nothing else.
	deployer = "deployer"
)

var (
	plane *controlplane.ControlPlane
	// admin sets things up and looks; what it may do proves nothing.
	admin client.Client
	argo  *operator.GitOps
)

func TestArgoCD(t *testing.T) {
	RegisterFailHandler(Fail)
	EnforceDefaultTimeoutsWhenUsingContexts()
	SetDefaultEventuallyTimeout(time.Minute)
	SetDefaultEventuallyPollingInterval(100 * time.Millisecond)
	RunSpecs(t, "Lapse with Argo CD")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	log.SetLogger(zap.New(zap.WriteTo(GinkgoWriter)))
	plane = operator.NewPlane(ctx, GinkgoTB(), controlplane.Options{ControllerManager: true})
	admin = operator.NewClient(GinkgoTB(), plane.AdminConfig())
	argo = operator.NewGitOps(ctx, GinkgoTB(), plane, home, account, deployer)
	operator.NewManager(ctx, GinkgoTB(), plane, GinkgoWriter)
}, NodeTimeout(3*time.Minute))

func username(name string) string { return "system:serviceaccount:" + home + ":" + name }
