// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package perf measures the operator against plain writes on the same API server, in
// the same run. Ratios are the result; a machine that is shared gives no milliseconds.
package perf

import (
	"context"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

const (
	rounds    = 200
	namespace = "perf"
	timeout   = 10 * time.Second
)

// BenchmarkRevocation measures the time from somebody's word to the API server's no,
// by SubjectAccessReview: an AccessDecision that revokes, and in turn with it a plain
// deletion of a RoleBinding. It is meant for -benchtime 1x.
func BenchmarkRevocation(b *testing.B) {
	ctx := b.Context()
	s := start(ctx, b)
	for b.Loop() {
		plain, revoked := make([]time.Duration, 0, rounds), make([]time.Duration, 0, rounds)
		for i := range rounds {
			plain = append(plain, s.deletion(ctx, b, fmt.Sprint("plain-", i)))
			revoked = append(revoked, s.revocation(ctx, b, fmt.Sprint("lapse-", i)))
		}
		report(b, "delete", plain)
		report(b, "revoke", revoked)
		b.ReportMetric(float64(quantile(revoked, 0.5))/float64(quantile(plain, 0.5)), "ratio-p50")
		b.ReportMetric(float64(quantile(revoked, 0.99))/float64(quantile(plain, 0.99)), "ratio-p99")
	}
}

type scene struct {
	admin, alice, owner client.Client
}

// start runs a control plane and the manager binary, and lets alice ask.
func start(ctx context.Context, b *testing.B) *scene {
	b.Helper()
	return startOn(ctx, b, operator.NewPlane(ctx, b, controlplane.Options{ControllerManager: true}))
}

// startOn does so on a control plane that runs.
func startOn(ctx context.Context, b *testing.B, plane *controlplane.ControlPlane) *scene {
	b.Helper()
	operator.NewManager(ctx, b, plane, io.Discard)
	s := &scene{
		admin: operator.NewClient(b, plane.AdminConfig()),
		alice: operator.NewUser(b, plane, "alice"), owner: operator.NewUser(b, plane, "owner", "owners"),
	}
	asks := []string{"create", "get", "delete"}
	operator.Create(ctx, b, s.admin,
		builders.Namespace(namespace), builders.ClusterRole("reader", builders.Rule("", "configmaps", "get")),
		builders.ClusterRole("asker", builders.Rule("lapse.dev", "accessrequests", asks...),
			builders.Rule("lapse.dev", "accessdecisions", asks...)),
		builders.Bindable("clusterroles", "reader"), bind("asker", "alice"), bind("asker", "owner"),
		builders.Policy("perf").Allowing("reader").In(namespace).Build())
	return s
}

// bind gives a ClusterRole to a user, in the namespace.
func bind(role, user string) *rbacv1.RoleBinding {
	return builders.Binding(namespace, role+"-"+user, role, builders.User(user))
}

// deletion binds plainly, deletes, and waits for the no.
func (s *scene) deletion(ctx context.Context, b *testing.B, name string) time.Duration {
	b.Helper()
	binding := bind("reader", "alice")
	binding.Name = name
	check(b, s.admin.Create(ctx, binding))
	s.await(ctx, b, true)
	begun := time.Now()
	check(b, s.admin.Delete(ctx, binding))
	s.await(ctx, b, false)
	return time.Since(begun)
}

// revocation asks, has the access revoked, and waits for the no.
func (s *scene) revocation(ctx context.Context, b *testing.B, name string) time.Duration {
	b.Helper()
	req := builders.Request(name).In(namespace).ForClusterRole("reader").Lasting(time.Hour).Build()
	s.ask(ctx, b, req)
	s.await(ctx, b, true)
	decision := builders.Decision(name, req, v1alpha1.VerdictRevoke)
	begun := time.Now()
	check(b, s.owner.Create(ctx, decision))
	s.await(ctx, b, false)
	return time.Since(begun)
}

// ask stores a request of alice's.
func (s *scene) ask(ctx context.Context, b *testing.B, req *v1alpha1.AccessRequest) {
	b.Helper()
	check(b, wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, timeout, true, func(ctx context.Context) (bool, error) {
		err := s.alice.Create(ctx, req) // the first ones come before RBAC knows of alice
		return err == nil, nil
	}))
}

// await asks every millisecond whether alice has access.
func (s *scene) await(ctx context.Context, b *testing.B, want bool) {
	b.Helper()
	check(b, wait.PollUntilContextTimeout(ctx, time.Millisecond, timeout, true, func(ctx context.Context) (bool, error) {
		may, err := operator.Allowed(ctx, s.admin, "alice", "get", "configmaps", namespace)
		return may == want, err
	}))
}

func report(b *testing.B, what string, all []time.Duration) {
	b.Helper()
	b.ReportMetric(milliseconds(quantile(all, 0.5)), what+"-p50-ms")
	b.ReportMetric(milliseconds(quantile(all, 0.99)), what+"-p99-ms")
}

func quantile(all []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[int(q*float64(len(sorted)-1))]
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
