// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
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
	d := &appsv1.Deployment{}
	err := c.get(ctx, operatorNamespace, operatorAccount, d)
	if apierrors.IsNotFound(err) {
		return "", fmt.Errorf("there is no Deployment %s in namespace %s", operatorAccount, operatorNamespace)
	}
	if err != nil {
		return "", err
	}
	for _, container := range d.Spec.Template.Spec.Containers {
		if container.Name == "manager" {
			return container.Image, nil
		}
	}
	return "", fmt.Errorf("deployment %s has no container manager", operatorAccount)
}
