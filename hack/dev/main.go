// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Command dev runs a control plane with Lapse on it until Ctrl-C.
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
	"syscall"

	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

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
	manager := flags.Bool("manager", true, "run bin/manager; without it, its kubeconfig is printed for one that is run by hand")
	logs := flags.Bool("logs", false, "print the logs of the control plane")
	if err := flags.Parse(args); err != nil {
		return err
	}
	root, err := operator.Root()
	if err != nil {
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
	fmt.Fprintln(out, "installing Lapse")
	if err := operator.Install(ctx, plane); err != nil {
		return err
	}
	admin, own := filepath.Join(root, "bin", "dev.kubeconfig"), filepath.Join(root, "bin", "manager.kubeconfig")
	if err := writeKubeconfigs(ctx, plane, admin, own); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(admin), os.Remove(own)) }()
	if *manager {
		m, err := operator.Start(ctx, plane, os.Stderr, "--leader-elect")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, m.Stop()) }()
	} else {
		fmt.Fprintf(out, "\nRun the manager as its own ServiceAccount; nobody else may write status:\n\n  go run . --leader-elect --kubeconfig=%s\n", own)
	}
	fmt.Fprintf(out, "\nIt is ready. In another terminal:\n\n  export KUBECONFIG=%s\n\nCtrl-C stops it and forgets everything in it.\n", admin)
	<-ctx.Done()
	return nil
}

// writeKubeconfigs writes the admin's and the operator's own.
func writeKubeconfigs(ctx context.Context, plane *controlplane.ControlPlane, admin, own string) error {
	config, err := plane.ServiceAccountConfig(ctx, operator.Namespace, operator.ServiceAccount)
	if err != nil {
		return err
	}
	return errors.Join(controlplane.WriteKubeconfig(admin, plane.AdminConfig()), controlplane.WriteKubeconfig(own, config))
}
