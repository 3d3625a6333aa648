// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/controlplane"
)

// GitOps is what applies policies and requests from Git, and may do what docs/gitops.md says.
type GitOps struct {
	plane *controlplane.ControlPlane
	admin client.Client
	// home is the namespace of its accounts. It impersonates all but its own.
	home, own string
}

// NewGitOps makes the accounts of one, and the role reader, which may be bound. Its own account is
// a cluster admin.
func NewGitOps(ctx context.Context, t testing.TB, plane *controlplane.ControlPlane, home, own string, others ...string) *GitOps {
	t.Helper()
	g := &GitOps{plane: plane, admin: NewClient(t, plane.AdminConfig()), home: home, own: own}
	Create(ctx, t, g.admin, builders.Namespace(home),
		builders.ClusterBinding(own, "cluster-admin", builders.ServiceAccount(home, own)),
		// What docs/gitops.md gives besides lapse-requester.
		builders.ClusterRole("gitops-accessrequests", builders.Rule("lapse.dev", "accessrequests", "patch", "delete")),
		builders.ClusterRole("reader", builders.Rule("", "configmaps", "get")),
		builders.Bindable("clusterroles", "reader"))
	for _, name := range append(others, own) {
		Create(ctx, t, g.admin, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: name}})
	}
	return g
}

// NewTenant is a namespace in which an account may ask, and leads may approve.
func (g *GitOps) NewTenant(ctx context.Context, t testing.TB, asker string) string {
	t.Helper()
	ns := NewNamespace(ctx, t, g.admin)
	Create(ctx, t, g.admin,
		builders.Binding(ns, "gitops-may-ask", "lapse-requester", builders.ServiceAccount(g.home, asker)),
		builders.Binding(ns, "gitops-accessrequests", "gitops-accessrequests", builders.ServiceAccount(g.home, asker)),
		builders.Binding(ns, "approvers", "lapse-approver", builders.Group("leads")))
	return ns
}

// Request is a manifest by which an account asks for the role reader for somebody, by whose name
// it goes. It says who asks where the API server does not, as docs/compatibility.md has it.
func (g *GitOps) Request(ctx context.Context, t testing.TB, asker, who, ns, duration string, notAfter time.Time) string {
	t.Helper()
	manifest := fmt.Sprintf(`apiVersion: lapse.dev/v1alpha1
kind: AccessRequest
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  roleRef: {kind: ClusterRole, name: reader}
  subject: {kind: User, name: %[1]s}
  duration: %[3]s
  notAfter: %[4]q
  reason: "INC-1: from Git"
`, who, ns, duration, notAfter.UTC().Format(time.RFC3339))
	stamps, err := Stamps(g.plane.AdminConfig())
	check(t, err)
	if stamps {
		return manifest
	}
	uid := ""
	if asker == g.own { // the others are impersonated, and have none
		sa := &corev1.ServiceAccount{}
		check(t, g.admin.Get(ctx, client.ObjectKey{Namespace: g.home, Name: asker}, sa))
		uid = fmt.Sprintf(", uid: %s", sa.UID)
	}
	return manifest + fmt.Sprintf("  requester: {username: %q, groups: [%q, %q, %q]%s}\n", "system:serviceaccount:"+g.home+":"+asker,
		"system:serviceaccounts", "system:serviceaccounts:"+g.home, "system:authenticated", uid)
}
