// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"context"
	"io"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/controlplane"
)

// What is made here is for the rest of a test: of a spec or a suite with GinkgoTB, or of a
// benchmark. It fails the test, and cleans up after it.

const cleanupTimeout = time.Minute

// NewPlane starts a control plane and installs Lapse on it.
func NewPlane(ctx context.Context, t testing.TB, opts controlplane.Options) *controlplane.ControlPlane {
	t.Helper()
	plane, err := controlplane.Start(ctx, opts)
	check(t, err)
	t.Cleanup(func() { check(t, plane.Stop()) })
	check(t, Install(ctx, plane))
	return plane
}

// NewManager starts a manager. Its logs go to out.
func NewManager(ctx context.Context, t testing.TB, plane *controlplane.ControlPlane, out io.Writer, args ...string) *Manager {
	t.Helper()
	m, err := Start(ctx, plane, out, args...)
	check(t, err)
	t.Cleanup(func() { check(t, m.Stop()) })
	return m
}

// NewClient is that of a user; see Client.
func NewClient(t testing.TB, config *rest.Config) client.Client {
	t.Helper()
	c, err := Client(config)
	check(t, err)
	return c
}

// NewUser is the client of somebody with a certificate of his own.
func NewUser(t testing.TB, plane *controlplane.ControlPlane, name string, groups ...string) client.Client {
	t.Helper()
	config, err := plane.User(name, groups...)
	check(t, err)
	return NewClient(t, config)
}

// NewHome is Home of somebody with a certificate of his own.
func NewHome(t testing.TB, plane *controlplane.ControlPlane, name string, groups ...string) []string {
	t.Helper()
	config, err := plane.User(name, groups...)
	check(t, err)
	env, err := Home(plane, t.TempDir(), config)
	check(t, err)
	return env
}

// OwnConfig is the operator's own.
func OwnConfig(ctx context.Context, t testing.TB, plane *controlplane.ControlPlane) *rest.Config {
	t.Helper()
	config, err := plane.ServiceAccountConfig(ctx, Namespace, ServiceAccount)
	check(t, err)
	return config
}

// NewNamespace is one with a name that no other has, and with labels as in builders. It
// stays.
func NewNamespace(ctx context.Context, t testing.TB, admin client.Client, labels ...string) string {
	t.Helper()
	ns := builders.Namespace("", labels...)
	ns.GenerateName = "spec-"
	Create(ctx, t, admin, ns)
	return ns.Name
}

// NewPolicy creates a policy.
func NewPolicy(ctx context.Context, t testing.TB, admin client.Client, b builders.PolicyBuilder) *v1alpha1.AccessPolicy {
	t.Helper()
	p := b.Build()
	Create(ctx, t, admin, p)
	cleanup(ctx, t, func(ctx context.Context) error { return client.IgnoreNotFound(admin.Delete(ctx, p)) })
	return p
}

// Create creates objects. They stay.
func Create(ctx context.Context, t testing.TB, as client.Client, objects ...client.Object) {
	t.Helper()
	for _, obj := range objects {
		check(t, as.Create(ctx, obj))
	}
}

// WithoutGuard takes an admission policy away; see RemoveGuard.
func WithoutGuard(ctx context.Context, t testing.TB, plane *controlplane.ControlPlane, name string) {
	t.Helper()
	restore, err := RemoveGuard(ctx, plane, name)
	if restore != nil {
		cleanup(ctx, t, restore)
	}
	check(t, err)
}

// Allowed asks the API server whether a user may do something in a namespace.
func Allowed(ctx context.Context, admin client.Client, user, verb, resource, namespace string) (bool, error) {
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user, ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: verb, Resource: resource},
	}}
	err := admin.Create(ctx, review)
	return review.Status.Allowed, err
}

// Reason is that of the condition Ready, or empty.
func Reason(req *v1alpha1.AccessRequest) string {
	if c := meta.FindStatusCondition(req.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		return c.Reason
	}
	return ""
}

// cleanup runs after the test, whose ctx has ended then.
func cleanup(ctx context.Context, t testing.TB, do func(context.Context) error) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		check(t, do(ctx))
	})
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
