// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/version"

	"github.com/lapse-dev/lapse/internal/build"
	"github.com/lapse-dev/lapse/internal/text"
)

// versions are what `kubectl lapse version -o json` prints.
type versions struct {
	Client string `json:"clientVersion"`
	// Commit that the plugin was built from.
	Commit string `json:"clientCommit"`
	// Operator is the image that runs; empty if it could not be read.
	Operator   string `json:"operatorImage,omitempty"`
	Kubernetes string `json:"kubernetesVersion,omitempty"`
}

func (p *plugin) versionCommand() *cobra.Command {
	var clientOnly bool
	var format string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of the plugin, the operator and Kubernetes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "" && format != outputJSON {
				return fmt.Errorf("-o %s is not known; use json, or leave it out", format)
			}
			return p.version(cmd.Context(), clientOnly, format)
		},
	}
	cmd.Flags().BoolVar(&clientOnly, "client", false, "Only that of the plugin; asks no server.")
	cmd.Flags().StringVarP(&format, "output", "o", "", "json, or a text for people.")
	return cmd
}

func (p *plugin) version(ctx context.Context, clientOnly bool, format string) error {
	v := versions{Client: build.Version(), Commit: build.Commit()}
	var doubt string
	if !clientOnly {
		c, err := p.connect()
		if err != nil {
			return err
		}
		server, err := c.version(ctx)
		if err != nil {
			return err
		}
		v.Kubernetes = server.GitVersion
		if v.Operator, err = operatorImage(ctx, c); err != nil {
			doubt = p.explain(err)
		}
	}
	if format == outputJSON {
		return writeJSON(p.Out, v)
	}
	fmt.Fprintf(p.Out, "Client: %s\n", text.Line(v.Client))
	fmt.Fprintf(p.Out, "Commit: %s\n", text.Line(v.Commit))
	if clientOnly {
		return nil
	}
	if doubt != "" {
		p.say("the operator's version could not be read: %s", doubt)
	} else {
		fmt.Fprintf(p.Out, "Operator: %s\n", text.Line(v.Operator))
	}
	fmt.Fprintf(p.Out, "Kubernetes: %s\n", text.Line(v.Kubernetes))
	return nil
}

// version of Kubernetes.
func (c *cluster) version(ctx context.Context) (*version.Info, error) {
	info := &version.Info{}
	return info, c.read(ctx, "/version", info)
}

// operatorImage is what the Deployment of config/manager runs.
func operatorImage(ctx context.Context, c *cluster) (string, error) {
	manager, err := operatorContainer(ctx, c)
	if apierrors.IsNotFound(err) {
		return "", fmt.Errorf("there is no Deployment %s in namespace %s", operatorAccount, operatorNamespace)
	}
	if err != nil {
		return "", err
	}
	if manager == nil {
		return "", fmt.Errorf("deployment %s has no container manager", operatorAccount)
	}
	return manager.Image, nil
}

// operatorContainer is the container manager of the operator's Deployment, nil if that has none.
// Of a Deployment nothing else is read: the package of its type links all of that group.
func operatorContainer(ctx context.Context, c *cluster) (*corev1.Container, error) {
	var deployment struct {
		Spec corev1.PodTemplate `json:"spec"`
	}
	path := fmt.Sprintf("/apis/apps/v1/namespaces/%s/deployments/%s", operatorNamespace, operatorAccount)
	if err := c.read(ctx, path, &deployment); err != nil {
		return nil, err
	}
	containers := deployment.Spec.Template.Spec.Containers
	for i := range containers {
		if containers[i].Name == "manager" {
			return &containers[i], nil
		}
	}
	return nil, nil
}
