// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package operator installs Lapse on a control plane exactly as it ships, and runs
// the manager binary with a token of its own ServiceAccount.
package operator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/controlplane"
)

const (
	// Namespace is where the operator lives.
	Namespace = "lapse-system"
	// ServiceAccount is who it is.
	ServiceAccount = "lapse-manager"
	// Username is the same, as the API server knows it.
	Username = "system:serviceaccount:" + Namespace + ":" + ServiceAccount

	installTimeout = time.Minute
)

// Scheme knows the kinds of Kubernetes and of Lapse.
func Scheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			panic(err) // only ever a duplicate registration
		}
	}
	return scheme
}

// RawClient is an uncached client for a user.
func RawClient(config *rest.Config) (client.Client, error) {
	return client.New(config, client.Options{Scheme: Scheme()})
}

// Root is the folder of the module, from wherever in it a test or command runs.
func Root() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, statErr := os.Stat(filepath.Join(dir, "PROJECT")); statErr == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("this is not inside of the Lapse repository: no folder above has a file PROJECT")
		}
		dir = parent
	}
	return "", err
}

// Install applies what the README names for the version, or installs it in the way that
// InstallBy names, as an administrator would, and waits until admission is enforced: a policy
// takes a second or two.
func Install(ctx context.Context, plane *controlplane.ControlPlane) error {
	version, err := Version(plane)
	if err != nil {
		return err
	}
	way, err := WayFor(version)
	if err != nil {
		return err
	}
	if err := soon(ctx, func(ctx context.Context) error { return typeIt(ctx, plane, way.Again) }); err != nil {
		return err
	}
	return errors.Join(awaitAdmission(ctx, plane), awaitKinds(ctx, plane))
}

// awaitKinds waits until the API server takes requests: what stamps them learns of a kind
// some moments after it is installed, and refuses it until then.
func awaitKinds(ctx context.Context, plane *controlplane.ControlPlane) error {
	admin, err := Client(plane.AdminConfig())
	if err != nil {
		return err
	}
	var answer error
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, installTimeout, true, func(ctx context.Context) (bool, error) {
		answer = admin.Create(ctx, builders.Request("probe").In("default").Build(), client.DryRunAll)
		return answer == nil, nil
	})
	if err != nil {
		return fmt.Errorf("waiting until requests are taken: %w", errors.Join(err, answer))
	}
	return nil
}

// Apply runs kubectl apply at the root of the module, and again while kinds that
// were installed a moment ago are not known yet.
func Apply(ctx context.Context, plane *controlplane.ControlPlane, user *rest.Config, args ...string) error {
	root, err := Root()
	if err != nil {
		return err
	}
	for i, arg := range args {
		if strings.HasPrefix(arg, "config/") {
			args[i] = filepath.Join(root, arg)
		}
	}
	return soon(ctx, func(ctx context.Context) error {
		_, stderr, err := plane.Kubectl(ctx, user, append([]string{"apply"}, args...)...)
		if err != nil {
			return fmt.Errorf("kubectl apply %s: %w: %s", strings.Join(args, " "), err, stderr)
		}
		return nil
	})
}

// soon does something again until it goes well.
func soon(ctx context.Context, do func(ctx context.Context) error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 500*time.Millisecond, installTimeout, true, func(ctx context.Context) (bool, error) {
		err := do(ctx)
		if err != nil && ctx.Err() == nil {
			last = err
		}
		return err == nil, nil
	})
	if err != nil {
		return errors.Join(err, last)
	}
	return nil
}
