// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package node installs what ships on a control plane with a real node, and looks at what
// only a node shows: that the Pods run, and what becomes of access while they are replaced.
// It needs root and Debian, and changes the machine while it runs: make test-node.
package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

const (
	nodeName = "n1"
	// address is that of the node and of the API server, on loopback. As the first of the
	// services it is also the one by which Pods find the API server: nothing has to
	// translate addresses.
	address  = "10.99.0.1"
	services = "10.99.0.0/24"
	pods     = "10.99.1.0/24"
	bridge   = "lapse0"
	network  = "lapse-node"
	// kubeletAddress is where kubelet listens, by default.
	kubeletAddress = address + ":10250"

	startTimeout = time.Minute
	stopTimeout  = 30 * time.Second
)

// Node is this machine as a node of a control plane: containerd, kube-scheduler and kubelet.
// Only a caller that is killed with SIGKILL leaves Pods, mounts and addresses behind.
type Node struct {
	// folder holds all of it, and goes with it. Logs stay, in bin/node.
	folder, logs string
	// assets is where kube-scheduler and kubelet are.
	assets  string
	machine machine
	// Nil while they do not run.
	containerd, scheduler, kubelet *controlplane.Process
}

// New makes this machine ready for a control plane with Options, and a node. If it fails,
// nothing is left behind.
func New() (*Node, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("only root can run a node; as root: make test-node")
	}
	if conn, err := net.Dial("unix", deviceSocket); err == nil {
		return nil, errors.Join(errors.New("another kubelet runs on this machine: make test-node would take its place"), conn.Close())
	}
	root, err := operator.Root()
	if err != nil {
		return nil, err
	}
	n := &Node{logs: filepath.Join(root, "bin", "node")}
	if n.folder, err = os.MkdirTemp("", "lapse-node-"); err != nil {
		return nil, err
	}
	if err := n.prepare(); err != nil {
		return nil, errors.Join(err, n.Stop())
	}
	return n, nil
}

func (n *Node) prepare() error {
	if err := os.MkdirAll(n.logs, 0o755); err != nil {
		return err
	}
	if err := n.configure(); err != nil {
		return err
	}
	return n.machine.lend()
}

// Options are those of a control plane for this node.
func (n *Node) Options() controlplane.Options {
	return controlplane.Options{
		ControllerManager: true,
		Controllers:       []string{"*"},
		Listen:            net.JoinHostPort(address, "443"),
		APIServerFlags: map[string]string{
			"authorization-mode":              "Node,RBAC",
			"kubelet-client-certificate":      n.path("api-server.crt"),
			"kubelet-client-key":              n.path("api-server.key"),
			"kubelet-preferred-address-types": "InternalIP",
			"service-cluster-ip-range":        services,
		},
	}
}

// Start starts the node with images from archives. It is not ready yet.
func (n *Node) Start(ctx context.Context, plane *controlplane.ControlPlane, archives ...string) error {
	n.assets = filepath.Dir(plane.KubectlPath())
	if err := n.introduce(plane, "kube-scheduler", "system:kube-scheduler"); err != nil {
		return err
	}
	if err := n.introduce(plane, "kubelet", "system:node:"+nodeName, "system:nodes"); err != nil {
		return err
	}
	if err := n.runContainerd(); err != nil {
		return err
	}
	for _, archive := range archives {
		if err := n.load(ctx, archive); err != nil {
			return err
		}
	}
	var err error
	n.scheduler, err = n.launch(filepath.Join(n.assets, "kube-scheduler"),
		"--kubeconfig="+n.path("kube-scheduler.kubeconfig"), "--leader-elect=false", "--secure-port=0")
	if err != nil {
		return err
	}
	return n.runKubelet(ctx)
}

// introduce makes somebody known to the API server under a name of his own.
func (n *Node) introduce(plane *controlplane.ControlPlane, program, user string, groups ...string) error {
	config, err := plane.User(user, groups...)
	if err != nil {
		return err
	}
	return controlplane.WriteKubeconfig(n.path(program+".kubeconfig"), config)
}

func (n *Node) runContainerd() (err error) {
	n.containerd, err = n.launch("containerd", "--config="+n.path("containerd.toml"))
	return err
}

// runKubelet waits until it listens. containerd does so some moments before it answers
// kubelet, which ends then: it is started again, as an init system would do.
func (n *Node) runKubelet(ctx context.Context) error {
	err := wait.PollUntilContextTimeout(ctx, time.Second, startTimeout, true, func(context.Context) (bool, error) {
		if n.kubelet == nil || n.kubelet.Ended() {
			var err error
			n.kubelet, err = n.launch(filepath.Join(n.assets, "kubelet"),
				"--kubeconfig="+n.path("kubelet.kubeconfig"), "--config="+n.path("kubelet.yaml"),
				"--hostname-override="+nodeName, "--node-ip="+address,
				"--root-dir="+n.path("kubelet"), "--cert-dir="+n.path("certificates"))
			return false, err
		}
		conn, err := net.DialTimeout("tcp", kubeletAddress, time.Second)
		if err != nil {
			return false, nil //nolint:nilerr // it does not listen yet
		}
		return true, conn.Close()
	})
	if err != nil {
		return fmt.Errorf("waiting for kubelet, see %s: %w", n.logs, err)
	}
	return nil
}

// load waits for containerd, too.
func (n *Node) load(ctx context.Context, archive string) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, time.Second, startTimeout, true, func(context.Context) (bool, error) {
		if n.containerd.Ended() {
			return false, errors.New("containerd ended, see " + n.logs)
		}
		_, last = n.ctr("images", "import", archive)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("importing %s: %w", archive, errors.Join(err, last))
	}
	return nil
}

func (n *Node) launch(path string, args ...string) (*controlplane.Process, error) {
	// What is started again goes on with its log.
	log, err := os.OpenFile(filepath.Join(n.logs, filepath.Base(path)+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = log, log
	process, err := controlplane.StartProcess(cmd)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w; run make test-node", path, err)
	}
	return process, nil
}

// Die ends kubelet, all Pods at once, and containerd, as when a machine loses its power.
func (n *Node) Die() error {
	var errs []error
	if n.kubelet != nil {
		errs = append(errs, n.kubelet.Stop(stopTimeout))
	}
	if n.containerd != nil && n.containerd.Ended() {
		errs = append(errs, n.runContainerd()) // without it nobody finds the Pods
	}
	if n.containerd != nil {
		errs = append(errs, n.endPods(), n.containerd.Stop(stopTimeout), endShims(n.path("containerd.sock")))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	n.kubelet, n.containerd = nil, nil
	return nil
}

// Revive starts a node again that has died. It is not ready yet.
func (n *Node) Revive(ctx context.Context) error {
	if n.containerd == nil {
		if err := n.runContainerd(); err != nil {
			return err
		}
	}
	return n.runKubelet(ctx)
}

// Stop ends all Pods and processes, and puts the machine back.
func (n *Node) Stop() error {
	err := n.Die()
	if n.scheduler != nil {
		err = errors.Join(err, n.scheduler.Stop(stopTimeout))
	}
	return errors.Join(err, n.machine.restore(n.folder))
}

// endPods ends what containerd alone would leave running. It deletes what it sees end by
// itself, too, so that it is what is left that counts.
func (n *Node) endPods() error {
	var last error
	err := wait.PollUntilContextTimeout(context.Background(), time.Second, stopTimeout, true, func(context.Context) (bool, error) {
		if n.containerd.Ended() {
			return false, errors.New("containerd has ended before its Pods: they may still run")
		}
		var tasks string
		tasks, last = n.ctr("tasks", "list", "--quiet")
		if last != nil {
			return false, nil //nolint:nilerr // it may be starting
		}
		for task := range strings.FieldsSeq(tasks) {
			if _, err := n.ctr("tasks", "delete", "--force", task); err != nil {
				last = err
			}
		}
		return tasks == "", nil
	})
	if err != nil {
		return fmt.Errorf("ending Pods: %w", errors.Join(err, last))
	}
	return nil
}

func (n *Node) ctr(args ...string) (string, error) {
	return run("ctr", append([]string{"--address", n.path("containerd.sock"), "--namespace", "k8s.io"}, args...)...)
}

func (n *Node) path(name string) string { return filepath.Join(n.folder, name) }
