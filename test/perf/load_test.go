// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package perf

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

const (
	// singles is how many are asked for one after the other.
	singles = 100
	// burst is how many are asked for at once, and few how many fill a namespace a little.
	burst, few = 1000, 100
	// atOnce is how many ask or write at once.
	atOnce = 16
	// loadTimeout bounds what is waited for, and eachTimeout what each of many adds to that.
	loadTimeout, eachTimeout = 3 * time.Minute, 50 * time.Millisecond
	// readyTimeout bounds how long a manager reads what there is.
	readyTimeout = 5 * time.Minute
)

// BenchmarkLoad measures what many people feel, next to plain writes of RoleBindings on the
// same API server. Each round has all measurements; -benchtime 5x gives five of each, of
// which the table has the median and the range. It prints Markdown.
func BenchmarkLoad(b *testing.B) {
	ctx := b.Context()
	l := newLoad(ctx, b)
	for range turns {
		l.least(ctx)
		l.leastInTurn(ctx)
	}
	l.launch(ctx)
	l.ready(ctx)
	l.memory("RSS, empty, MiB")
	for b.Loop() {
		l.baseline(ctx)
		l.yes(ctx)
		l.revoke(ctx)
		l.clear(ctx, l.burst(ctx, burst, 20))
		l.clear(ctx, l.crowded(ctx, few))
		l.clear(ctx, l.crowded(ctx, burst))
	}
	b.ReportMetric(0, "ns/op")
	fmt.Println(l)
}

// load is a scene and what was measured in it.
type load struct {
	*testing.B
	plane   *controlplane.ControlPlane
	manager *operator.Manager
	scrapes string // where the manager has its metrics
	scraper string // the token by which they are read
	watches client.WithWatch
	admin   client.Client
	askers  []client.Client
	owner   client.Client
	carol   client.Client // who may write and holds nothing

	names   []string // of the measurements, in order
	figures map[string][]float64
}

// newLoad has a control plane, people who may ask and a policy that lets them. No manager runs.
func newLoad(ctx context.Context, b *testing.B) *load {
	b.Helper()
	plane := operator.NewPlane(ctx, b, controlplane.Options{
		ControllerManager: true, EtcdFlags: map[string]string{"quota-backend-bytes": "8000000000"}, // 2 GB by default
	})
	l := &load{B: b, plane: plane, figures: map[string][]float64{}}
	l.admin = operator.NewClient(b, l.plane.AdminConfig())
	watches, err := client.NewWithWatch(l.plane.AdminConfig(), client.Options{Scheme: operator.Scheme()})
	check(b, err)
	l.watches, l.owner = watches, operator.NewUser(b, l.plane, "owner", "owners")
	l.carol = operator.NewUser(b, l.plane, "carol", "owners")
	for i := range atOnce {
		l.askers = append(l.askers, operator.NewUser(b, l.plane, fmt.Sprint("asker-", i), "askers"))
	}
	asks, rbac := []string{"create", "get", "delete"}, "rbac.authorization.k8s.io"
	operator.Create(ctx, b, l.admin,
		builders.ClusterRole("reader", builders.Rule("", "configmaps", "get")), builders.Bindable("clusterroles", "reader"),
		builders.ClusterRole("asker",
			builders.Rule("lapse.dev", "accessrequests", asks...), builders.Rule("lapse.dev", "accessdecisions", asks...),
			builders.Rule("", "secrets", "create"), builders.Rule("", "serviceaccounts", "create"),
			builders.Rule(rbac, "rolebindings", "create"), builders.Rule(rbac, "clusterroles", "bind")),
		builders.ClusterBinding("askers", "asker", builders.Group("askers")),
		builders.ClusterBinding("owners", "asker", builders.Group("owners")),
		builders.Policy("load").From(builders.Group("askers")).Allowing("reader").Selecting("load", "yes").Build())
	l.mayScrape(ctx)
	return l
}

// launch runs a manager, in place of the one before. It returns when that was begun.
func (l *load) launch(ctx context.Context) time.Time { return l.launchTo(ctx, io.Discard) }

// launchTo does so with more arguments, and with a place for what it prints.
func (l *load) launchTo(ctx context.Context, out io.Writer, args ...string) time.Time {
	l.Helper()
	if l.manager != nil {
		l.stop(l.manager)
	}
	var err error
	l.scrapes, err = operator.FreeAddress()
	check(l.B, err)
	config := operator.OwnConfig(ctx, l.B, l.plane)
	begun := time.Now()
	m, err := operator.LaunchAs(config, out, append(args, "--metrics-bind-address="+l.scrapes)...)
	check(l.B, err)
	l.manager = m
	l.Cleanup(func() { l.stop(m) })
	return begun
}

// stop a manager. One that has to be killed tells the records of the last minute again.
func (l *load) stop(m *operator.Manager) {
	if err := m.Stop(); err != nil {
		l.Log(err)
	}
}

// ready waits until the manager is.
func (l *load) ready(ctx context.Context) {
	l.Helper()
	check(l.B, l.manager.WaitReadyWithin(ctx, readyTimeout))
}

// namespace is a new one that the policy is for.
func (l *load) namespace(ctx context.Context) string {
	l.Helper()
	return operator.NewNamespace(ctx, l.B, l.admin, "load", "yes")
}

// namespaces are some of them.
func (l *load) namespaces(ctx context.Context, n int) []string {
	l.Helper()
	out := make([]string, 0, n)
	for range n {
		out = append(out, l.namespace(ctx))
	}
	return out
}

func (l *load) note(name string, value float64) {
	if _, there := l.figures[name]; !there {
		l.names = append(l.names, name)
	}
	l.figures[name] = append(l.figures[name], value)
}

// memory notes how much of the manager is resident.
func (l *load) memory(name string) {
	l.Helper()
	rss, err := l.manager.Memory()
	check(l.B, err)
	l.note(name, mebibytes(rss))
}

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }

// String is the table.
func (l *load) String() string {
	var s strings.Builder
	s.WriteString("| measure | median | range |\n|---|---|---|\n")
	for _, name := range l.names {
		all := slices.Sorted(slices.Values(l.figures[name]))
		fmt.Fprintf(&s, "| %s | %.4g | %.4g to %.4g |\n", name, all[len(all)/2], all[0], all[len(all)-1])
	}
	return s.String()
}

// last is the newest figure of a name.
func (l *load) last(name string) float64 {
	all := l.figures[name]
	return all[len(all)-1]
}
