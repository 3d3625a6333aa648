// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package perf

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

// starts is how often each command is run.
const starts = 100

// BenchmarkPluginStart measures whole runs of `kubectl lapse get` and of `kubectl get
// accessrequests`, in turn, as somebody whose discovery cache is warm. Starting kubectl
// is in both. pending is with a request that waits, for which the plugin also reads
// policies. It is meant for -benchtime 1x.
func BenchmarkPluginStart(b *testing.B) {
	ctx := b.Context()
	plane := operator.NewPlane(ctx, b, controlplane.Options{})
	run := runner(b, plane)
	ask(ctx, b, plane, "over", "Active")
	for b.Loop() {
		compare(ctx, b, run, "get")
		ask(ctx, b, plane, "waits", "Pending")
		compare(ctx, b, run, "pending")
	}
}

// runner runs kubectl as an auditor, who may read everything that is shown.
func runner(b *testing.B, plane *controlplane.ControlPlane) func(ctx context.Context, args ...string) time.Duration {
	b.Helper()
	operator.Create(b.Context(), b, operator.NewClient(b, plane.AdminConfig()),
		builders.Namespace(namespace), builders.ClusterBinding("auditor", "lapse-auditor", builders.User("auditor")))
	auditor, err := plane.User("auditor")
	check(b, err)
	home := b.TempDir()
	kubeconfig := filepath.Join(home, "kubeconfig")
	check(b, controlplane.WriteKubeconfig(kubeconfig, auditor))
	root, err := operator.Root()
	check(b, err)
	env := []string{
		"HOME=" + home, "KUBECONFIG=" + kubeconfig, "PATH=" + filepath.Join(root, "bin") + string(os.PathListSeparator) + os.Getenv("PATH"),
	}
	return func(ctx context.Context, args ...string) time.Duration {
		cmd := exec.CommandContext(ctx, plane.KubectlPath(), args...)
		cmd.Env = env
		start := time.Now()
		out, err := cmd.CombinedOutput()
		took := time.Since(start)
		if err != nil {
			b.Fatalf("kubectl %v: %v\n%s", args, err, out)
		}
		return took
	}
}

// ask stores a request in some state, which the operator would write.
func ask(ctx context.Context, b *testing.B, plane *controlplane.ControlPlane, name, state string) {
	b.Helper()
	operator.Create(ctx, b, operator.NewClient(b, plane.AdminConfig()), builders.Request(name).In(namespace).Build())
	reason := map[string]string{"Active": "Granted", "Pending": "PendingApproval"}[state]
	patch := fmt.Sprintf(`{"status": {"state": %q, "observedGeneration": 1, "policy": {"name": "p", "uid": "u", "generation": 1},
  "conditions": [{"type": "Ready", "status": "Unknown", "reason": %q, "message": "", "observedGeneration": 1,
    "lastTransitionTime": "2026-12-01T12:00:00Z"}]}}`, state, reason)
	_, stderr, err := plane.Kubectl(ctx, operator.OwnConfig(ctx, b, plane), "patch", "accessrequest", name, "-n", namespace,
		"--subresource=status", "--type=merge", "-p", patch)
	if err != nil {
		b.Fatalf("%v: %s", err, stderr)
	}
}

func compare(ctx context.Context, b *testing.B, run func(context.Context, ...string) time.Duration, name string) {
	b.Helper()
	plain, plugin := make([]time.Duration, 0, starts), make([]time.Duration, 0, starts)
	run(ctx, "get", "areq", "-A") // fills the discovery cache
	for range starts {
		plain = append(plain, run(ctx, "get", "areq", "-A"))
		plugin = append(plugin, run(ctx, "lapse", "get", "-A"))
	}
	b.ReportMetric(float64(quantile(plain, 0.5).Microseconds())/1000, name+"-kubectl-ms")
	b.ReportMetric(float64(quantile(plugin, 0.5).Microseconds())/1000, name+"-lapse-ms")
	b.ReportMetric(float64(quantile(plugin, 0.5))/float64(quantile(plain, 0.5)), name+"-ratio-p50")
}
