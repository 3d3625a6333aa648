// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kubectl-lapse is the plugin `kubectl lapse`: it asks for access, decides on
// it, looks at it and gives it back. It needs a kubeconfig and nothing else.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // conditions name time zones, and not every machine has them

	"k8s.io/cli-runtime/pkg/genericiooptions"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // kubeconfigs of clouds

	_ "github.com/lapse-dev/lapse/cmd/kubectl-lapse/internal/quickstart"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr})
	stop()
	os.Exit(code)
}
