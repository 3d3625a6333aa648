// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Command dev runs a control plane with Lapse's manifests until Ctrl-C, for a
// manager that is started by hand. It is run from the module root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/lapse-dev/lapse/test/controlplane"
)

const applyTimeout = time.Minute

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "dev:", err)
		cancel()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	// A set of its own, as controller-runtime has put flags into the global one.
	flags := flag.NewFlagSet("dev", flag.ContinueOnError)
	kubeconfig := flags.String("kubeconfig", "bin/dev.kubeconfig", "file to write the admin's kubeconfig to")
	manifests := flags.String("manifests", "config/default", "kustomization to apply")
	logs := flags.Bool("logs", false, "print the logs of the control plane")
	if err := flags.Parse(args); err != nil {
		return err
	}

	opts := controlplane.Options{ControllerManager: true}
	if *logs {
		opts.Out = os.Stderr
	}
	fmt.Fprintln(out, "starting a control plane")
	plane, err := controlplane.Start(ctx, opts)
	if err != nil {
		return err
	}
	defer func() {
		fmt.Fprintln(out, "stopping the control plane")
		err = errors.Join(err, plane.Stop())
	}()
	if err := apply(ctx, plane, *manifests, out); err != nil {
		return err
	}
	path, err := filepath.Abs(*kubeconfig)
	if err != nil {
		return err
	}
	if err := controlplane.WriteKubeconfig(path, plane.AdminConfig()); err != nil {
		return err
	}
	defer os.Remove(path)
	fmt.Fprintf(out, "\nIt is ready. In another terminal:\n\n  export KUBECONFIG=%s\n  go run .\n\nCtrl-C stops it and forgets everything in it.\n", path)
	<-ctx.Done()
	return nil
}

// apply retries for as long as the API server does not know a kind that it was
// given a moment ago: an admission policy answers 503 until its parameter's
// kind is served.
func apply(ctx context.Context, plane *controlplane.ControlPlane, manifests string, out io.Writer) error {
	var stdout, stderr string
	err := wait.PollUntilContextTimeout(ctx, time.Second, applyTimeout, true, func(ctx context.Context) (bool, error) {
		var err error
		stdout, stderr, err = plane.Kubectl(ctx, plane.AdminConfig(), "apply", "-k", manifests)
		if err != nil && !passing(stderr) {
			return false, err
		}
		return err == nil, nil
	})
	if err != nil {
		return fmt.Errorf("kubectl apply -k %s: %w\n%s", manifests, err, stderr)
	}
	fmt.Fprint(out, stdout)
	return nil
}

// passing tells whether kubectl complains of something that time cures.
func passing(stderr string) bool {
	for _, sign := range []string{"ServiceUnavailable", "not yet ready", "no matches for kind", "unable to handle the request"} {
		if strings.Contains(stderr, sign) {
			return true
		}
	}
	return false
}
