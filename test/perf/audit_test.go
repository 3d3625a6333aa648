// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package perf

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

const (
	// lives are how many grants there are on each control plane, one after the other.
	lives = 100
	// reads are the calls under each of them.
	reads = 10
)

// BenchmarkAudit measures what kube-apiserver writes to its audit log by the policy that ships,
// and with Metadata of all calls, while the same is done. A call is one that a grant allowed;
// all other calls are in its bytes. It fails if the log lacks one. It is meant for -benchtime 1x.
func BenchmarkAudit(b *testing.B) {
	ctx := b.Context()
	root, err := operator.Root()
	check(b, err)
	for b.Loop() {
		shipped := logged(ctx, b, filepath.Join(root, "config/audit/policy.yaml"))
		all := logged(ctx, b, "")
		b.ReportMetric(shipped, "shipped-bytes/call")
		b.ReportMetric(all, "metadata-bytes/call")
		b.ReportMetric(shipped/all, "ratio")
	}
}

// logged is how many bytes are written for each call that a grant allows. What the admin does,
// who looks all the time whether alice has access, is left out.
func logged(ctx context.Context, b *testing.B, policy string) float64 {
	b.Helper()
	plane := operator.NewPlane(ctx, b, controlplane.Options{ControllerManager: true, AuditPolicy: policy})
	s := startOn(ctx, b, plane)
	s.await(ctx, b, false)
	mark, err := plane.AuditMark()
	check(b, err)
	for i := range lives {
		s.life(ctx, b, fmt.Sprint("life-", i))
	}
	events, err := plane.AuditEvents(mark)
	check(b, err)
	calls, bytes := 0, 0
	for i := range events {
		e := &events[i]
		if e.User.Username == "admin" {
			continue
		}
		line, err := json.Marshal(e)
		check(b, err)
		bytes += len(line) + 1
		if e.Verb == "get" && strings.Contains(e.Annotations["authorization.k8s.io/reason"], `by RoleBinding "lapse-life-`) {
			calls++
		}
	}
	if calls != lives*reads {
		b.Errorf("%d calls that a grant allowed are in the audit log, want %d", calls, lives*reads)
	}
	return float64(bytes) / (lives * reads)
}

// life of a request: alice asks, reads, and has the access taken away.
func (s *scene) life(ctx context.Context, b *testing.B, name string) {
	b.Helper()
	req := builders.Request(name).In(namespace).ForClusterRole("reader").Lasting(time.Hour).Build()
	s.ask(ctx, b, req)
	s.await(ctx, b, true)
	for i := range reads {
		check(b, client.IgnoreNotFound(s.alice.Get(ctx, client.ObjectKey{Namespace: namespace, Name: fmt.Sprint(i)}, &corev1.ConfigMap{})))
	}
	check(b, s.owner.Create(ctx, builders.Decision(name, req, v1alpha1.VerdictRevoke)))
	s.await(ctx, b, false)
}
