// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"

	"github.com/lapse-dev/lapse/test/controlplane"
)

const (
	readyTimeout = 30 * time.Second
	stopTimeout  = 10 * time.Second
)

// Manager is a running manager binary.
type Manager struct {
	process *controlplane.Process
	probes  string
	dir     string
}

// Start launches the manager and waits until it is ready.
func Start(ctx context.Context, plane *controlplane.ControlPlane, out io.Writer, args ...string) (*Manager, error) {
	m, err := Launch(ctx, plane, out, args...)
	if err != nil {
		return nil, err
	}
	if err := m.WaitReady(ctx); err != nil {
		return nil, errors.Join(err, m.Stop())
	}
	return m, nil
}

// Launch runs bin/manager with a token of its ServiceAccount. More arguments are
// appended; logs go to out.
func Launch(ctx context.Context, plane *controlplane.ControlPlane, out io.Writer, args ...string) (*Manager, error) {
	config, err := plane.ServiceAccountConfig(ctx, Namespace, ServiceAccount)
	if err != nil {
		return nil, err
	}
	return LaunchAs(config, out, args...)
}

// LaunchAs runs bin/manager with a config of its ServiceAccount, which may reach the API
// server in a roundabout way.
func LaunchAs(config *rest.Config, out io.Writer, args ...string) (*Manager, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	return LaunchBinary(filepath.Join(root, "bin", "manager"), config, out, args...)
}

// LaunchBinary runs a manager of another version in the same way.
func LaunchBinary(path string, config *rest.Config, out io.Writer, args ...string) (_ *Manager, err error) {
	m := &Manager{}
	if m.probes, err = FreeAddress(); err != nil {
		return nil, err
	}
	if m.dir, err = os.MkdirTemp("", "lapse-manager-"); err != nil {
		return nil, err
	}
	kubeconfig := filepath.Join(m.dir, "kubeconfig")
	if err := controlplane.WriteKubeconfig(kubeconfig, config); err != nil {
		return nil, errors.Join(err, os.RemoveAll(m.dir))
	}
	command := exec.Command(path, append([]string{
		"--kubeconfig=" + kubeconfig, "--namespace=" + Namespace, "--health-probe-bind-address=" + m.probes,
	}, args...)...)
	command.Stdout, command.Stderr = out, out
	if m.process, err = controlplane.StartProcess(command); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the manager: %w; run make build", err), os.RemoveAll(m.dir))
	}
	return m, nil
}

// WaitReady waits until the manager says that it is ready.
func (m *Manager) WaitReady(ctx context.Context) error { return m.WaitReadyWithin(ctx, readyTimeout) }

// WaitReadyWithin waits for it for some time, where there is much for it to read first.
func (m *Manager) WaitReadyWithin(ctx context.Context, d time.Duration) error {
	err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, d, true, func(ctx context.Context) (bool, error) {
		if m.process.Ended() {
			return false, fmt.Errorf("the manager exited: %w", m.process.Err())
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.probes+"/readyz", http.NoBody)
		if err != nil {
			return false, err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return false, nil //nolint:nilerr // it does not listen yet
		}
		return res.StatusCode == http.StatusOK, res.Body.Close()
	})
	if err != nil {
		return fmt.Errorf("waiting for the manager: %w", err)
	}
	return nil
}

// ProbeAddress is where the manager serves /healthz and /readyz.
func (m *Manager) ProbeAddress() string { return m.probes }

// Memory is how many bytes of it are resident.
func (m *Manager) Memory() (int64, error) {
	s, err := m.status()
	return int64(s.VmRSS), err //nolint:gosec // no machine has that much
}

// PeakMemory is how many were at the most since it was started.
func (m *Manager) PeakMemory() (int64, error) {
	s, err := m.status()
	return int64(s.VmHWM), err //nolint:gosec // no machine has that much
}

func (m *Manager) status() (procfs.ProcStatus, error) {
	proc, err := procfs.NewProc(m.process.PID())
	if err != nil {
		return procfs.ProcStatus{}, err
	}
	return proc.NewStatus()
}

// CPU is how much time of processors it has taken.
func (m *Manager) CPU() (time.Duration, error) { return m.process.CPU() }

// FreeAddress is one on the loopback interface on which nobody listens.
func FreeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// Done is closed when the manager has ended.
func (m *Manager) Done() <-chan struct{} { return m.process.Done() }

// Signal sends a signal, such as SIGSTOP.
func (m *Manager) Signal(signal syscall.Signal) error { return m.process.Signal(signal) }

// Kill ends the manager with SIGKILL and waits until it is gone.
func (m *Manager) Kill() error {
	return errors.Join(m.process.Signal(syscall.SIGKILL), m.Stop())
}

// Stop asks the manager to end, and insists after a while. It may be called more
// than once.
func (m *Manager) Stop() error {
	return errors.Join(m.process.Stop(stopTimeout), os.RemoveAll(m.dir))
}
