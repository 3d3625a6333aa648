// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
)

const (
	managerUser  = "system:kube-controller-manager"
	pollInterval = 50 * time.Millisecond
)

// withoutNodes are the controllers that mean something without nodes.
var withoutNodes = []string{
	"clusterrole-aggregation-controller",
	"garbage-collector-controller",
	"namespace-controller",
	"root-ca-certificate-publisher-controller",
	"serviceaccount-controller",
	"serviceaccount-token-controller",
	"ttl-after-finished-controller",
	"validatingadmissionpolicy-status-controller",
}

// startManager starts kube-controller-manager as the user that RBAC knows it by,
// from where each controller goes on with a ServiceAccount of its own.
func (c *ControlPlane) startManager(context.Context) error {
	user, err := c.User(managerUser)
	if err != nil {
		return err
	}
	kubeconfig := c.path("kube-controller-manager.kubeconfig")
	if err := WriteKubeconfig(kubeconfig, user); err != nil {
		return err
	}
	rootCA := c.path("root-ca.crt")
	if err := os.WriteFile(rootCA, user.CAData, 0o600); err != nil {
		return err
	}
	cmd := exec.Command(c.binary("kube-controller-manager"),
		"--kubeconfig="+kubeconfig,
		"--controllers="+strings.Join(c.controllers, ","),
		"--use-service-account-credentials=true",
		"--service-account-private-key-file="+c.path("apiserver/sa-signer.key"),
		"--root-ca-file="+rootCA,
		"--leader-elect=false",
		"--secure-port=0",
		"--kube-api-qps=500",
		"--kube-api-burst=1000",
	)
	cmd.Stdout, cmd.Stderr = c.logTo("kube-controller-manager")
	manager, err := StartProcess(cmd)
	if err != nil {
		return fmt.Errorf("starting kube-controller-manager: %w", err)
	}
	c.manager = manager
	return nil
}

// awaitDefaultNamespace waits for what the API server creates by itself.
func (c *ControlPlane) awaitDefaultNamespace(ctx context.Context) error {
	return c.await(ctx, "kube-apiserver", "the default namespace", func(ctx context.Context, admin kubernetes.Interface) (bool, error) {
		_, err := admin.CoreV1().Namespaces().Get(ctx, corev1.NamespaceDefault, metav1.GetOptions{})
		return err == nil, ignoreNotFound(err)
	})
}

// awaitControllers waits for the work of two controllers to show.
func (c *ControlPlane) awaitControllers(ctx context.Context) error {
	const name = "kube-controller-manager"
	err := c.await(ctx, name, "the default ServiceAccount", func(ctx context.Context, admin kubernetes.Interface) (bool, error) {
		_, err := admin.CoreV1().ServiceAccounts(corev1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, ignoreNotFound(err)
	})
	if err != nil {
		return err
	}
	return c.await(ctx, name, "the aggregated ClusterRole view", func(ctx context.Context, admin kubernetes.Interface) (bool, error) {
		role, err := admin.RbacV1().ClusterRoles().Get(ctx, "view", metav1.GetOptions{})
		return err == nil && hasRules(role), ignoreNotFound(err)
	})
}

// await polls as the admin until done, and gives up early if the process that
// is waited for has ended.
func (c *ControlPlane) await(ctx context.Context, name, what string, done func(context.Context, kubernetes.Interface) (bool, error)) error {
	admin, err := kubernetes.NewForConfig(c.admin)
	if err != nil {
		return err
	}
	err = wait.PollUntilContextTimeout(ctx, pollInterval, startTimeout, true, func(ctx context.Context) (bool, error) {
		if c.manager != nil && c.manager.Ended() {
			return false, fmt.Errorf("kube-controller-manager ended: %w", c.manager.err)
		}
		return done(ctx, admin)
	})
	if err != nil {
		return c.quoteLog(name, fmt.Errorf("waiting for %s: %w", what, err))
	}
	return nil
}

func hasRules(role *rbacv1.ClusterRole) bool { return len(role.Rules) > 0 }

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
