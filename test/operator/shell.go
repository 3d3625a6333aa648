// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"github.com/lapse-dev/lapse/test/controlplane"
)

// pipeDelay is how long what a killed shell has started may hold its output open.
const pipeDelay = 5 * time.Second

// Home makes a home for somebody who types commands, and returns his environment: a PATH
// with the kubectl of the control plane and the plugin, and a kubeconfig, unless config is
// nil.
func Home(plane *controlplane.ControlPlane, home string, config *rest.Config) ([]string, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	kubectl, err := filepath.Abs(plane.KubectlPath())
	if err != nil {
		return nil, err
	}
	bin, kubeconfig := filepath.Join(home, "bin"), filepath.Join(home, "kubeconfig")
	if err := errors.Join(os.MkdirAll(bin, 0o700), os.Symlink(kubectl, filepath.Join(bin, "kubectl"))); err != nil {
		return nil, err
	}
	if config != nil {
		if err := controlplane.WriteKubeconfig(kubeconfig, config); err != nil {
			return nil, err
		}
	}
	path := strings.Join([]string{bin, filepath.Join(root, "bin"), os.Getenv("PATH")}, string(os.PathListSeparator))
	return []string{"HOME=" + home, "KUBECONFIG=" + kubeconfig, "PATH=" + path}, nil
}

// Typed is what commands printed, and their exit code.
type Typed struct {
	Stdout, Stderr string
	Code           int
}

// Type runs commands in bash, in a folder. An error means that bash could not be run.
func Type(ctx context.Context, folder string, env []string, commands string) (Typed, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", commands)
	cmd.Dir, cmd.Env, cmd.WaitDelay = folder, env, pipeDelay
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); !ended && err != nil {
		return Typed{}, err
	}
	return Typed{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}, nil
}
