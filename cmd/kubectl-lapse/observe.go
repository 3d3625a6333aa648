// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
)

// defaultLimits are the operator's own unless its flags say otherwise, which nobody
// but a cluster admin may read.
func defaultLimits() policy.Limits {
	return policy.Limits{MaxDuration: 24 * time.Hour, ReservedNamespaces: []string{operatorNamespace, policy.DefaultReserved}}
}

// world is what requests are judged by, as far as the caller may read it.
type world struct {
	policies  []*policy.Compiled
	offered   []v1alpha1.AccessPolicy // the same, as they are written
	namespace *corev1.Namespace
	roles     policy.RoleLookup
	// unknown is what could not be read, and what was taken for granted instead.
	unknown []string
}

// observe reads what requests in a namespace are judged by. Without the policies
// nothing can be told, which is an error.
func (p *plugin) observe(ctx context.Context, c *cluster, namespace string) (*world, error) {
	w := &world{}
	list := &v1alpha1.AccessPolicyList{}
	if err := c.list(ctx, "", list); err != nil {
		return nil, err
	}
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp == nil {
			w.policies = append(w.policies, policy.Compile(&list.Items[i]))
			w.offered = append(w.offered, list.Items[i])
		}
	}
	ns := &corev1.Namespace{}
	switch err := c.get(ctx, "", namespace, ns); {
	case err == nil:
		w.namespace = ns
	case apierrors.IsForbidden(err):
		w.namespace = &corev1.Namespace{}
		w.namespace.Name = namespace
		w.doubt("you may not read namespace %s, so it was taken to have no labels or annotations", namespace)
	case !apierrors.IsNotFound(err):
		return nil, err
	}
	w.roles = w.lookup(ctx, c, namespace)
	return w, nil
}

func (w *world) doubt(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(w.unknown, text) {
		w.unknown = append(w.unknown, text)
	}
}

// lookup takes a role that may not be read for one that exists and is harmless, and
// notes it: whoever asks for a role seldom may read it.
func (w *world) lookup(ctx context.Context, c *cluster, namespace string) policy.RoleLookup {
	return func(ref v1alpha1.RoleRef) (policy.Role, bool, error) {
		var found policy.Role
		var err error
		if ref.Kind == v1alpha1.ClusterRoleKind {
			role := &rbacv1.ClusterRole{}
			err = c.get(ctx, "", ref.Name, role)
			found = policy.Role{UID: role.UID, Rules: role.Rules}
		} else {
			role := &rbacv1.Role{}
			err = c.get(ctx, namespace, ref.Name, role)
			found = policy.Role{UID: role.UID, Rules: role.Rules}
		}
		if apierrors.IsForbidden(err) {
			w.doubt("%s", unreadRole(ref))
			return policy.Role{Unread: true}, true, nil
		}
		return found, err == nil, ignoreNotFound(err)
	}
}

// unreadRole is what is said of a role that may not be read.
func unreadRole(ref v1alpha1.RoleRef) string {
	return fmt.Sprintf("you may not read %s %s, so it was taken to exist and to be harmless", ref.Kind, ref.Name)
}

// doubtBind notes that nobody was asked whether the operator may bind a role. Most people may
// neither read roles nor ask that: they are told in one note, not in two on each yes.
func (w *world) doubtBind(ref v1alpha1.RoleRef) {
	if i := slices.Index(w.unknown, unreadRole(ref)); i >= 0 {
		w.unknown[i] += ", and the operator to be allowed to bind it"
		return
	}
	w.doubt("you may not ask what the operator may bind, so it was taken to be allowed to bind %s %s", ref.Kind, ref.Name)
}

// judge answers a request as the operator would.
func (w *world) judge(now time.Time, req *v1alpha1.AccessRequest) (policy.Decision, error) {
	if start := req.Spec.NotBefore; start != nil && start.After(now) {
		now = start.Time // access that begins later is judged as of its beginning
	}
	return policy.Evaluate(policy.Input{Request: req, Namespace: w.namespace, Now: now, Limits: defaultLimits(), Roles: w.roles}, w.policies)
}

// sayUnknown says what the answer rests on without having been read.
func (w *world) sayUnknown(p *plugin) {
	for _, doubt := range w.unknown {
		p.say("note: %s", doubt)
	}
}
