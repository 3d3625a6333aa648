// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"

	"github.com/lapse-dev/lapse/internal/kubernetes"
	"github.com/lapse-dev/lapse/test/controlplane"
)

// InstallBy names the way by which tests install Lapse, in their environment: one of Ways,
// and the first if it is not set.
const InstallBy = "INSTALL_BY"

// Ways to install, as docs/install.md has them.
var Ways = []string{"kustomize", "file", "helm"}

// Way is what an admin types at the root of the module, for one version of Kubernetes.
type Way struct {
	// Install is typed once.
	Install string
	// Again is Install for where it may be installed: it brings back what was changed.
	Again string
	// Remove is typed when all access was ended.
	Remove string
}

// WayFor is the way that InstallBy names, for a version such as v1.31.13.
func WayFor(gitVersion string) (Way, error) {
	folder := kubernetes.Overlay(gitVersion)
	switch by := os.Getenv(InstallBy); by {
	case "", "kustomize":
		return kubectlWay("-k " + folder), nil
	case "file":
		return kubectlWay("-f dist/install-" + path.Base(folder) + ".yaml"), nil
	case "helm":
		return helmWay(), nil
	default:
		return Way{}, fmt.Errorf("%s is %q, and has to be one of %v", InstallBy, by, Ways)
	}
}

func kubectlWay(what string) Way {
	apply := "kubectl apply " + what
	return Way{Install: apply, Again: apply, Remove: "kubectl delete --ignore-not-found " + what}
}

func helmWay() Way {
	const (
		chart = "lapse charts/lapse --namespace " + Namespace + " --create-namespace"
		label = "namespace " + Namespace +
			" pod-security.kubernetes.io/enforce=restricted pod-security.kubernetes.io/warn=restricted"
	)
	return Way{
		Install: "helm install " + chart + "\nkubectl label " + label,
		// What a test changed has another owner now.
		Again: "helm upgrade --install --force-conflicts " + chart + "\nkubectl label --overwrite " + label,
		// No node here runs the Job that ends access.
		Remove: "helm uninstall lapse --namespace " + Namespace + " --no-hooks\nkubectl delete namespace " + Namespace,
	}
}

// typeIt has an admin type something at the root of the module.
func typeIt(ctx context.Context, plane *controlplane.ControlPlane, line string) (err error) {
	root, err := Root()
	if err != nil {
		return err
	}
	home, err := os.MkdirTemp("", "lapse-admin-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(home)) }()
	env, err := Home(plane, home, plane.AdminConfig())
	if err != nil {
		return err
	}
	typed, err := Type(ctx, root, env, line)
	if err == nil && typed.Code != 0 {
		err = fmt.Errorf("%s\nexited with %d: %s", line, typed.Code, typed.Stderr)
	}
	return err
}
