// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package perf

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/yaml"

	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

// settleTimeout bounds how long a manager that was started has something to do.
const settleTimeout = 10 * time.Minute

// mayScrape makes who reads the metrics of the manager.
func (l *load) mayScrape(ctx context.Context) {
	l.Helper()
	const ns, name = metav1.NamespaceDefault, "scraper"
	operator.Create(ctx, l.B, l.admin,
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}},
		builders.ClusterBinding(name, "lapse-metrics-reader", builders.ServiceAccount(ns, name)))
	config, err := l.plane.ServiceAccountConfig(ctx, ns, name)
	check(l.B, err)
	l.scraper = config.BearerToken
}

// trusting takes any certificate, since the manager makes its own.
var trusting = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // so

// gauges are the metrics of the manager by their names, each the sum over its labels.
func (l *load) gauges(ctx context.Context) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+l.scrapes+"/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+l.scraper)
	res, err := trusting.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }() // it is only read
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("reading the metrics of the manager: %s", res.Status)
	}
	sums := map[string]float64{}
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		line := lines.Text()
		value, err := strconv.ParseFloat(line[strings.LastIndex(line, " ")+1:], 64)
		if name, _, _ := strings.Cut(strings.Fields(line + " #")[0], "{"); name != "#" && err == nil {
			sums[name] += value
		}
	}
	return sums, lines.Err()
}

// idle waits until the manager has nothing more to do or to tell. Twice it has to have nothing,
// since what one queue holds goes into another one.
func (l *load) idle(ctx context.Context, limit time.Duration) {
	l.Helper()
	idle := 0
	err := wait.PollUntilContextTimeout(ctx, 2*time.Second, limit, false, func(ctx context.Context) (bool, error) {
		is, err := l.gauges(ctx)
		if idle++; err != nil || is["workqueue_depth"]+is["lapse_records_behind"] > 0 {
			idle = 0 // it may be too busy to answer
		}
		return idle == 2, nil
	})
	if err != nil {
		l.Fatalf("waiting for %s until the manager has nothing more to do or to tell: %v", limit, err)
	}
}

// settle waits for that, and says how much memory the manager has then.
func (l *load) settle(ctx context.Context) memory {
	l.Helper()
	l.idle(ctx, settleTimeout)
	rss, err := l.manager.Memory()
	check(l.B, err)
	return memory{rss: mebibytes(rss), live: l.collected(ctx) / (1 << 20)}
}

// collected is what a collection of garbage leaves, in bytes. To answer makes garbage, so it asks
// until there is one; Go has one every two minutes without that.
func (l *load) collected(ctx context.Context) (live float64) {
	l.Helper()
	const cycles, collects = "go_gc_cycles_total_gc_cycles_total", 3 * time.Minute
	before := 0.0
	check(l.B, wait.PollUntilContextTimeout(ctx, time.Millisecond, collects, true, func(ctx context.Context) (bool, error) {
		is, err := l.gauges(ctx)
		if before == 0 {
			before = is[cycles]
		}
		live = is["go_gc_heap_live_bytes"]
		return is[cycles] > before, err
	}))
	return live
}

// memory in MiB: what of a process is resident, and what its last collection of garbage left.
type memory struct{ rss, live float64 }

func (m memory) minus(other memory) memory { return memory{m.rss - other.rss, m.live - other.live} }

func (l *load) noteMemory(what string, m memory) {
	l.note("RSS, "+what+", MiB", m.rss)
	l.note("live heap, "+what+", MiB", m.live)
}

// shippedMemory is what config/manager gives the manager, in bytes: what Go collects garbage
// for, and the limit of the container.
func shippedMemory(b *testing.B) (goal, limit int64) {
	b.Helper()
	root, err := operator.Root()
	check(b, err)
	data, err := os.ReadFile(filepath.Join(root, "config", "manager", "manager.yaml"))
	check(b, err)
	var deployment appsv1.Deployment
	check(b, yaml.Unmarshal(data, &deployment))
	container := deployment.Spec.Template.Spec.Containers[0]
	i := slices.IndexFunc(container.Env, func(v corev1.EnvVar) bool { return v.Name == "GOMEMLIMIT" })
	if i < 0 {
		b.Fatal("config/manager sets no GOMEMLIMIT")
	}
	// Go writes MiB for what Kubernetes calls Mi.
	soft, err := resource.ParseQuantity(strings.TrimSuffix(container.Env[i].Value, "B"))
	check(b, err)
	return soft.Value(), container.Resources.Limits.Memory().Value()
}

// within has managers that are started from now on collect garbage as in a container with a
// limit of memory, in the proportion that ships.
func (l *load) within(limit int64) {
	l.Helper()
	goal, shipped := shippedMemory(l.B)
	l.Setenv("GOMEMLIMIT", strconv.FormatInt(goal*limit/shipped, 10))
}
