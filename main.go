// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// The manager gives access that was asked for and allowed, and ends it on time.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime/debug"
	"time"
	_ "time/tzdata" // conditions name time zones, and the image has none

	"golang.org/x/mod/sumdb/note"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/controllers/ending"
	"github.com/lapse-dev/lapse/controllers/granting"
	"github.com/lapse-dev/lapse/controllers/guarding"
	"github.com/lapse-dev/lapse/controllers/telling"
	"github.com/lapse-dev/lapse/internal/admission"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/build"
	"github.com/lapse-dev/lapse/internal/metrics"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/servertime"
	"github.com/lapse-dev/lapse/internal/serving"
)

const (
	// restartDelay is the pause before what grants is started again after it failed.
	restartDelay = 5 * time.Second
	// shutdownGrace is how long work may go on when the operator is to stop. It is shorter
	// than the pod's, so that the lease is released.
	shutdownGrace = 7 * time.Second
	// cacheSyncTimeout is how long what ends access waits for its informer. To give up would
	// end the process, and nothing would be gained.
	cacheSyncTimeout = 365 * 24 * time.Hour
)

// noticeDeadConnections has client-go take a connection for dead, and make another, when
// nothing came over it for 5 s and a ping is not answered in 5 s. By default that takes
// 45 s, in which a deletion would wait.
func noticeDeadConnections() error {
	for _, name := range []string{"HTTP2_READ_IDLE_TIMEOUT_SECONDS", "HTTP2_PING_TIMEOUT_SECONDS"} {
		if os.Getenv(name) != "" {
			continue
		}
		if err := os.Setenv(name, "5"); err != nil {
			return err
		}
	}
	return nil
}

// collectGarbage has Go let half as much garbage come together as by default, unless GOGC says
// how much: requests are kept for weeks, and few of them change.
func collectGarbage() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
}

func main() {
	collectGarbage()
	if err := noticeDeadConnections(); err != nil {
		exit(err)
	}
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "reap":
			exit(ending.Reap(ctrl.SetupSignalHandler(), os.Args[2:], os.Stdout))
		case "drain":
			exit(ending.Drain(ctrl.SetupSignalHandler(), os.Args[2:], os.Stdout))
		case "version":
			fmt.Println(build.Version(), "commit", build.Commit())
			return
		}
	}
	f := parse()
	logTo(os.Stderr, &f.logging)
	exit(run(f))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "lapse:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(f *flags) error {
	limits, err := f.limits()
	if err != nil {
		return err
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("no way to reach the API server: %w; run in a cluster, or with --kubeconfig", err)
	}
	// The API server would compress each event of a watch by itself. Both sides would be
	// busy with that while thousands of grants end.
	config.DisableCompression = true
	now := servertime.New(clock.RealClock{})
	config.Wrap(now.Wrap)
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	guard, err := guarding.NewGuard(now, f.namespace, limits.ReservedNamespaces, admission.SettleAfter)
	if err != nil {
		return err
	}
	sinks, err := f.records.Sinks()
	if err != nil {
		return fmt.Errorf("--record-to: %w", err)
	}
	metadata, err := binding.NewMetadata(f.labels, f.annotations)
	if err != nil {
		return err
	}
	signer, err := f.records.Signer()
	if err != nil {
		return fmt.Errorf("--record-key-file: %w", err)
	}
	o := &operator{flags: f, sinks: sinks, signer: signer, config: config, scheme: scheme, clock: now, limits: limits, guard: guard, memory: binding.NewMemory(limits.MaxDuration), metadata: metadata}
	return o.run(ctrl.SetupSignalHandler())
}

// operator is two managers: one for what ends access, and one for all else, so that access
// ends whatever is wrong with the other one.
type operator struct {
	flags  *flags
	config *rest.Config
	scheme *runtime.Scheme
	clock  *servertime.Clock
	limits policy.Limits
	guard  *guarding.Guard
	memory binding.Memory
	// metadata of others that each binding gets.
	metadata binding.Metadata
	ending   *ending.Ending
	// sinks of records.
	sinks []telling.Sink
	// signer of the last record; nil signs none.
	signer note.Signer
	// bindings are what is cached of RoleBindings, for both.
	bindings cache.Cache
}

// run runs both until the context ends, or the one that ends access fails.
func (o *operator) run(ctx context.Context) error {
	mgr, err := o.setupEnding()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		o.keepGranting(ctx)
	}()
	err = mgr.Start(ctx)
	stop()
	select {
	case <-stopped:
	case <-o.clock.Here.After(shutdownGrace): // a manager whose informers never caught up does not stop
	}
	return err
}

// setupEnding sets up the manager of what ends access. It has nothing to wait for but the
// RoleBindings.
func (o *operator) setupEnding() (ctrl.Manager, error) {
	grace := shutdownGrace
	mgr, err := ctrl.NewManager(o.config, ctrl.Options{
		Scheme:                  o.scheme,
		Cache:                   ending.CacheOptions(),
		Metrics:                 metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress:  "0",
		Controller:              ctrlconfig.Controller{CacheSyncTimeout: cacheSyncTimeout},
		GracefulShutdownTimeout: &grace,
	})
	if err != nil {
		return nil, fmt.Errorf("setting up: %w", err)
	}
	o.bindings = mgr.GetCache()
	if o.ending, err = ending.Setup(mgr, o.clock, o.limits.MaxDuration, o.memory); err != nil {
		return nil, err
	}
	return mgr, errors.Join(o.serve(mgr), metrics.AdmissionEnforced(func() bool { return o.guard.Admission().Enforced }))
}

// serve adds probes and metrics to the manager of what ends access.
func (o *operator) serve(mgr ctrl.Manager) error {
	probes := serving.Probes(map[string]map[string]healthz.Checker{
		"/healthz": {"ping": healthz.Ping},
		"/readyz":  {"ending": cacheReady(mgr), "granting": o.ending.Ready, "admission": o.guard.Ready},
	})
	scrapes := http.NewServeMux()
	scrapes.Handle("/metrics", serving.Reviewed(metrics.Handler(), mgr.GetClient()))
	return errors.Join(
		serving.Add(mgr, "probes", o.flags.probes, probes, false),
		serving.Add(mgr, "metrics", o.flags.metrics, scrapes, true),
	)
}

// keepGranting runs the manager of all else, and a new one when it fails.
func (o *operator) keepGranting(ctx context.Context) {
	for {
		if err := o.grant(ctx); err != nil {
			ctrl.Log.Error(err, "nothing is granted until this is mended; access goes on ending. It is tried again", "after", restartDelay.String())
		}
		select {
		case <-ctx.Done():
			return
		case <-o.clock.Here.After(restartDelay):
		}
	}
}

func (o *operator) grant(ctx context.Context) error {
	if err := granting.Supported(o.config); err != nil {
		return err
	}
	again, grace := true, shutdownGrace
	mgr, err := ctrl.NewManager(o.config, ctrl.Options{
		Scheme:                        o.scheme,
		NewCache:                      granting.NewCache(o.bindings),
		Cache:                         granting.CacheOptions(),
		Metrics:                       metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress:        "0",
		Controller:                    ctrlconfig.Controller{SkipNameValidation: &again},
		GracefulShutdownTimeout:       &grace,
		LeaderElection:                o.flags.leaderElect,
		LeaderElectionID:              "lapse.lapse.dev",
		LeaderElectionNamespace:       o.flags.namespace,
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return err
	}
	if err := o.guard.Setup(mgr); err != nil {
		return err
	}
	if err := granting.Setup(mgr, granting.Options{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Clock: o.clock, Recorder: mgr.GetEventRecorder("lapse"),
		Admission: o.guard.Admission, Busy: o.ending.Busy, Memory: o.memory, Limits: o.limits, Retention: o.flags.retention,
		Metadata: o.metadata, Redact: o.flags.redact,
	}, o.guard.InForce()); err != nil {
		return err
	}
	if err := o.tell(mgr); err != nil {
		return err
	}
	known, err := granting.WatchRequests(mgr, o.ending.Look)
	if err != nil {
		return err
	}
	o.ending.Follow(ending.Others{RequestOf: known, Elected: mgr.Elected(), Ready: cacheReady(mgr)})
	return mgr.Start(ctx)
}

// cacheReady says whether the informers of a manager know what there is, so that nothing is
// missed. It waits for a tenth of a second, since anybody may ask.
func cacheReady(mgr ctrl.Manager) healthz.Checker {
	return func(req *http.Request) error {
		ctx, cancel := context.WithTimeout(req.Context(), 100*time.Millisecond)
		defer cancel()
		if !mgr.GetCache().WaitForCacheSync(ctx) {
			return errors.New("the informers have not caught up with the API server yet")
		}
		return nil
	}
}
