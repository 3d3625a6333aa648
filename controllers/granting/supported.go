// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"fmt"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"

	"github.com/lapse-dev/lapse/internal/kubernetes"
)

// Supported says why Lapse grants nothing on the API server, by its version; nil if it does.
// Access ends at its time on any version.
func Supported(config *rest.Config) error {
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return err
	}
	server, err := client.ServerVersion()
	if err != nil {
		return fmt.Errorf("reading the version of the API server: %w", err)
	}
	if err := kubernetes.Supported(server.GitVersion); err != nil {
		return fmt.Errorf("%w; update the cluster", err)
	}
	return nil
}
