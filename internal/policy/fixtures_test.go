// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

var (
	noon     = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	readPods = []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get"}}}
	errDown  = errors.New("the API server is down")
)

// ask is alice, of the group oncall, who asks for view in payments for an hour.
func ask() builders.RequestBuilder {
	return builders.Request("debug").In("payments").By("alice", "oncall", "system:authenticated").Lasting(time.Hour)
}

// offer is a policy that allows what ask asks.
func offer(name string) builders.PolicyBuilder { return builders.Policy(name).In("payments") }

func inputOf(req *v1alpha1.AccessRequest) Input {
	return Input{
		Request: req, Namespace: builders.Namespace(req.Namespace, "team", "payments", corev1.LabelMetadataName, req.Namespace), Now: noon,
		Limits: Limits{MaxDuration: 24 * time.Hour, ReservedNamespaces: []string{"lapse-system", "kube-*"}},
		Roles:  existing("view", "edit"),
	}
}

// existing are harmless roles of either kind.
func existing(names ...string) RoleLookup {
	return func(ref v1alpha1.RoleRef) (Role, bool, error) {
		if slices.Contains(names, ref.Name) {
			return Role{Rules: readPods}, true, nil
		}
		return Role{}, false, nil
	}
}

func failing(v1alpha1.RoleRef) (Role, bool, error) { return Role{}, false, errDown }

// unasked fails the test when a role is looked up.
func unasked(t *testing.T) RoleLookup {
	return func(ref v1alpha1.RoleRef) (Role, bool, error) {
		t.Errorf("%s was looked up", roleText(ref))
		return Role{Rules: readPods}, true, nil
	}
}

// stored gives a policy the UID and generation that the API server would.
func stored(b buildable) *v1alpha1.AccessPolicy {
	p := b.Build()
	p.UID, p.Generation = types.UID("uid-of-"+p.Name), 1
	return p
}

func compileAll(policies ...buildable) []*Compiled {
	out := make([]*Compiled, 0, len(policies))
	for _, p := range policies {
		out = append(out, Compile(stored(p)))
	}
	return out
}

// judged evaluates and fails the test on an error.
func judged(t *testing.T, in Input, policies ...buildable) Decision {
	t.Helper()
	d, err := Evaluate(in, compileAll(policies...))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// buildable is a policy that may need more than its builder offers.
type buildable interface{ Build() *v1alpha1.AccessPolicy }

// ready is a policy that needs no building.
type ready struct{ *v1alpha1.AccessPolicy }

// Build returns a copy.
func (r ready) Build() *v1alpha1.AccessPolicy { return r.DeepCopy() }
