// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

const (
	// Generous, for a machine that compiles at the same time.
	startTimeout = 90 * time.Second
	stopTimeout  = 30 * time.Second

	localhost = "127.0.0.1"
)

// Options says what to start. The zero value is an API server without
// controllers, from the binaries that `make controlplane` builds.
type Options struct {
	// Assets is the folder with the binaries. Default: KUBEBUILDER_ASSETS, else
	// bin/k8s-<version> of this module.
	Assets string
	// ControllerManager also starts kube-controller-manager, and the API
	// server's ServiceAccount admission with it.
	ControllerManager bool
	// Controllers are those that the controller manager runs. Default: those that mean
	// something without nodes.
	Controllers []string
	// Listen is where the API server listens, such as 10.99.0.1:443. Default: a free port of
	// 127.0.0.1.
	Listen string
	// APIServerFlags are flags of the API server, by name without the dashes.
	APIServerFlags map[string]string
	// EtcdFlags are flags of etcd, in the same form.
	EtcdFlags map[string]string
	// AuditObjects has the audit log hold what is written to RoleBindings and to the
	// kinds of Lapse, not only that it is.
	AuditObjects bool
	// AuditPolicy is the file of an audit policy. Default: Metadata of all calls, and what
	// AuditObjects asks for.
	AuditPolicy string
	// Dir holds data, certificates and the audit log. It must be empty or
	// absent, and Stop keeps it. Default: a temporary folder, which Stop removes.
	Dir string
	// Out gets the logs of all processes. Default: nobody reads them, but an
	// error of Start still quotes their last lines.
	Out io.Writer
}

// ControlPlane is a running control plane. Its methods may be used from
// several goroutines, except for Stop, StopAPIServer and StartAPIServer.
type ControlPlane struct {
	assets  string
	dir     string
	keepDir bool

	plane   *envtest.ControlPlane
	manager *Process
	logs    map[string]*logTail
	out     io.Writer
	admin   *rest.Config
	// controllers are those that manager runs.
	controllers []string

	certificates sync.Mutex
}

// Start returns once the control plane works: the API server answers and, with
// a controller manager, its controllers have shown that they do. If it fails or
// ctx ends, nothing is left behind. envtest cannot be interrupted while it waits
// for one process, so the end of ctx may take some seconds to be noticed.
//
// Only a caller that is killed with SIGKILL leaves something behind: etcd and
// kube-apiserver, as envtest gives no way to set their death signal, and the
// folder. kube-controller-manager ends with its parent on Linux.
func Start(ctx context.Context, opts Options) (*ControlPlane, error) {
	binaries := []string{"etcd", "kube-apiserver", "kubectl"}
	if opts.ControllerManager {
		binaries = append(binaries, "kube-controller-manager")
	}
	assets, err := findAssets(opts.Assets, binaries...)
	if err != nil {
		return nil, err
	}
	dir, err := prepareDir(opts.Dir)
	if err != nil {
		return nil, err
	}
	c := &ControlPlane{assets: assets, dir: dir, keepDir: opts.Dir != "", logs: map[string]*logTail{}}
	if opts.Out != nil {
		c.out = &lockedWriter{out: opts.Out}
	}
	if err := c.start(ctx, opts); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// start brings up one process after the other and looks at ctx in between.
func (c *ControlPlane) start(ctx context.Context, opts Options) error {
	if err := c.configure(opts); err != nil {
		return err
	}
	steps := []func(context.Context) error{c.startEtcd, c.StartAPIServer, c.addAdmin, c.awaitDefaultNamespace}
	if opts.ControllerManager {
		steps = append(steps, c.startManager, c.awaitControllers)
	}
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// configure prepares etcd and the API server. envtest gets folders inside of
// ours for both: it forgets those that it makes itself when a start fails.
func (c *ControlPlane) configure(opts Options) error {
	etcd := &envtest.Etcd{
		Path:         c.binary("etcd"),
		DataDir:      c.path("etcd"),
		StartTimeout: startTimeout,
		StopTimeout:  stopTimeout,
	}
	etcd.Out, etcd.Err = c.logTo("etcd")
	for flag, value := range opts.EtcdFlags {
		etcd.Configure().Set(flag, value)
	}
	server := &envtest.APIServer{
		Path:         c.binary("kube-apiserver"),
		CertDir:      c.path("apiserver"),
		StartTimeout: startTimeout,
		StopTimeout:  stopTimeout,
	}
	server.Out, server.Err = c.logTo("kube-apiserver")
	for _, dir := range []string{etcd.DataDir, server.CertDir} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	if opts.Listen != "" {
		var err error
		if server.Address, server.Port, err = net.SplitHostPort(opts.Listen); err != nil {
			return err
		}
	}
	args := server.Configure()
	// Without these the API server looks for a network interface other than
	// loopback to announce itself on, and fails on a machine without one.
	args.Set("advertise-address", localhost)
	args.Set("endpoint-reconciler-type", "none")
	// Ends the watches of clients that still run; else they hold up the stop for
	// a minute.
	args.Set("shutdown-watch-termination-grace-period", "1s")
	if opts.ControllerManager {
		// envtest turns ServiceAccount admission off as nobody would create the
		// default ServiceAccounts. Here somebody does.
		args.Disable("disable-admission-plugins")
	}
	for flag, value := range opts.APIServerFlags {
		args.Set(flag, value)
	}
	c.controllers = opts.Controllers
	if len(c.controllers) == 0 {
		c.controllers = withoutNodes
	}
	c.plane = &envtest.ControlPlane{Etcd: etcd, APIServer: server, KubectlPath: c.binary("kubectl")}
	return c.configureAudit(args, opts)
}

func (c *ControlPlane) startEtcd(context.Context) error {
	if err := c.plane.Etcd.Start(); err != nil {
		return c.quoteLog("etcd", err)
	}
	c.plane.APIServer.EtcdURL = c.plane.Etcd.URL
	return nil
}

// StartAPIServer starts the API server, with the same port, certificates and
// data if it ran before.
func (c *ControlPlane) StartAPIServer(context.Context) error {
	return c.quoteLog("kube-apiserver", c.plane.APIServer.Start())
}

// StopAPIServer stops only the API server, to see how others bear that.
func (c *ControlPlane) StopAPIServer() error {
	return c.plane.APIServer.Stop()
}

// Upgrade goes on with the API server and the controller manager of another folder, as an
// upgrade of the control plane does: the data, port and certificates stay.
func (c *ControlPlane) Upgrade(ctx context.Context, assets string) error {
	assets, err := findAssets(assets, "kube-apiserver", "kube-controller-manager")
	if err != nil {
		return err
	}
	if err := errors.Join(c.manager.Stop(stopTimeout), c.StopAPIServer()); err != nil {
		return err
	}
	c.assets, c.manager = assets, nil
	c.plane.APIServer.Path = c.binary("kube-apiserver")
	for _, step := range []func(context.Context) error{c.StartAPIServer, c.startManager, c.awaitControllers} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends all that Start began and removes the temporary folder. It may be
// called more than once.
func (c *ControlPlane) Stop() error {
	var errs []error
	if c.manager != nil {
		errs = append(errs, c.manager.Stop(stopTimeout))
	}
	if c.plane != nil {
		// etcd does not stop while it waits for the first word on a connection, as on those that
		// were made for one of many requests and not needed.
		etcdClient.CloseIdleConnections()
		errs = append(errs, c.plane.Stop())
	}
	if !c.keepDir {
		errs = append(errs, os.RemoveAll(c.dir))
	}
	return errors.Join(errs...)
}

// prepareDir makes a temporary folder, or makes sure that dir is a new one:
// certificates of an earlier run would not match this one's.
func prepareDir(dir string) (string, error) {
	if dir == "" {
		return os.MkdirTemp("", "lapse-controlplane-")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	if len(entries) > 0 {
		return "", fmt.Errorf("%s is not empty", dir)
	}
	return dir, nil
}

func (c *ControlPlane) path(name string) string   { return filepath.Join(c.dir, name) }
func (c *ControlPlane) binary(name string) string { return filepath.Join(c.assets, name) }
