// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package perf

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

const (
	// creations of each kind of object on each of the two control planes.
	creations = 500
	// activeGrants is how many managed bindings there are in the second half.
	activeGrants = 200
)

// BenchmarkAdmission measures what the admission policies cost: writes on a control
// plane with all of Lapse installed, one by one in turn with the same on one that has
// its CRDs alone. No manager runs. It is meant for -benchtime 1x.
func BenchmarkAdmission(b *testing.B) {
	ctx := b.Context()
	guarded, bare := newSide(ctx, b, true), newSide(ctx, b, false)
	for b.Loop() {
		ratio(b, "request", guarded.requests(ctx, "none-active"), bare.requests(ctx, "none-active"))
		guarded.grant(ctx, b, activeGrants)
		bare.grant(ctx, b, activeGrants)
		ratio(b, "request-200", guarded.requests(ctx, "active"), bare.requests(ctx, "active"))
		ratio(b, "configmap-200", guarded.configMaps(ctx), bare.configMaps(ctx))
		ratio(b, "secret-200", guarded.secrets(ctx), bare.secrets(ctx))
		ratio(b, "rolebinding-200", guarded.roleBindings(ctx), bare.roleBindings(ctx))
	}
}

// ratio runs two kinds of write in turn, each first as often as the other, and reports
// their medians.
func ratio(b *testing.B, what string, guarded, bare func(i int) error) {
	b.Helper()
	timed := func(write func(int) error, i int) time.Duration {
		begun := time.Now()
		check(b, write(i))
		return time.Since(begun)
	}
	with, without := make([]time.Duration, 0, creations), make([]time.Duration, 0, creations)
	for i := range creations {
		if i%2 == 0 {
			with = append(with, timed(guarded, i))
		}
		without = append(without, timed(bare, i))
		if i%2 == 1 {
			with = append(with, timed(guarded, i))
		}
	}
	b.ReportMetric(milliseconds(quantile(with, 0.5)), what+"-with-p50-ms")
	b.ReportMetric(milliseconds(quantile(without, 0.5)), what+"-without-p50-ms")
	b.ReportMetric(float64(quantile(with, 0.5))/float64(quantile(without, 0.5)), what+"-ratio")
}

// side is one of the two control planes. alice may do everything in the namespace.
type side struct {
	guarded         bool
	operator, alice client.Client
}

func newSide(ctx context.Context, b *testing.B, guarded bool) *side {
	b.Helper()
	s := &side{guarded: guarded}
	var plane *controlplane.ControlPlane
	if guarded {
		plane = operator.NewPlane(ctx, b, controlplane.Options{})
		s.operator = operator.NewClient(b, operator.OwnConfig(ctx, b, plane))
	} else {
		plane = bare(ctx, b)
		s.operator = operator.NewClient(b, plane.AdminConfig())
	}
	s.alice = operator.NewUser(b, plane, "alice", "askers")
	operator.Create(ctx, b, operator.NewClient(b, plane.AdminConfig()), builders.Namespace(namespace),
		builders.ClusterRole("everything", builders.Rule("*", "*", "*")), bind("everything", "alice"))
	// RBAC and the new kinds are known after a moment.
	check(b, wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, timeout, true, func(ctx context.Context) (bool, error) {
		return s.alice.Create(ctx, s.request("probe"), client.DryRunAll) == nil, nil
	}))
	return s
}

// bare is a control plane with the kinds of Lapse alone.
func bare(ctx context.Context, b *testing.B) *controlplane.ControlPlane {
	b.Helper()
	plane, err := controlplane.Start(ctx, controlplane.Options{})
	check(b, err)
	b.Cleanup(func() { check(b, plane.Stop()) })
	check(b, operator.Apply(ctx, plane, plane.AdminConfig(), "-k", "config/crd"))
	check(b, operator.Apply(ctx, plane, plane.AdminConfig(), "-f", "config/rbac/auditor_role.yaml"))
	return plane
}

// request is the same on both sides when it is stored: where nothing stamps it, it says
// itself who asks.
func (s *side) request(name string) client.Object {
	b := builders.Request(name).In(namespace).ForClusterRole("reader")
	if !s.guarded {
		b = b.By("alice", "askers", "system:authenticated").To(builders.User("alice"))
	}
	return b.Build()
}

func (s *side) requests(ctx context.Context, name string) func(int) error {
	return func(i int) error { return s.alice.Create(ctx, s.request(fmt.Sprintf("%s-%04d", name, i))) }
}

func (s *side) configMaps(ctx context.Context) func(int) error {
	return func(i int) error { return s.alice.Create(ctx, &corev1.ConfigMap{ObjectMeta: numbered(i)}) }
}

func (s *side) secrets(ctx context.Context) func(int) error {
	return func(i int) error { return s.alice.Create(ctx, &corev1.Secret{ObjectMeta: numbered(i)}) }
}

func (s *side) roleBindings(ctx context.Context) func(int) error {
	return func(i int) error {
		binding := bind("lapse-auditor", "somebody")
		binding.ObjectMeta = numbered(i)
		return s.alice.Create(ctx, binding)
	}
}

func numbered(i int) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("object-%04d", i)}
}

// grant makes managed bindings as the operator does, each to somebody else.
func (s *side) grant(ctx context.Context, b *testing.B, n int) {
	b.Helper()
	for i := range n {
		now, uid := time.Now().UTC(), fmt.Sprintf("%08d-0000-0000-0000-000000000000", i)
		binding := bind("lapse-auditor", fmt.Sprint("holder-", i))
		binding.ObjectMeta = metav1.ObjectMeta{
			Namespace: namespace, Name: "lapse-perf-" + uid[:8],
			Labels: map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy, v1alpha1.RequestUIDLabel: uid},
			Annotations: map[string]string{
				v1alpha1.ExpiresAtAnnotation: now.Add(time.Hour).Format(time.RFC3339),
				v1alpha1.CreateByAnnotation:  now.Add(10 * time.Second).Format(time.RFC3339),
				v1alpha1.RequestAnnotation:   "perf",
			},
			OwnerReferences: []metav1.OwnerReference{
				{APIVersion: v1alpha1.GroupVersion.String(), Kind: "AccessRequest", Name: "perf", UID: types.UID(uid)},
			},
		}
		check(b, s.operator.Create(ctx, binding))
	}
}
