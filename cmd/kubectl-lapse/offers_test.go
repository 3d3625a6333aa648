// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/test/builders"
)

func TestWhatMayBeAskedForIsListed(t *testing.T) {
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	anyRole := func(ref v1alpha1.RoleRef) (policy.Role, bool, error) {
		if ref.Name == "nodes" { // which gives nothing in a namespace
			return policy.Role{Rules: []rbacv1.PolicyRule{builders.Rule("", "nodes", "get")}}, true, nil
		}
		return policy.Role{Unread: true}, true, nil
	}
	w := &world{namespace: builders.Namespace("payments"), roles: anyRole}
	for _, b := range []builders.PolicyBuilder{
		builders.Policy("oncall").From(builders.Group("oncall")).Allowing("view", "edit", "nodes").In("payments"),
		builders.Policy("ticket").From(builders.User("alice")).Allowing("edit").In("payments").AtMost(8*time.Hour).
			If("request.spec.reason.startsWith('INC-')", "the reason must begin with INC-"),
		builders.Policy("two").From(builders.Group("oncall")).Allowing("admin").In("payments").ApprovedBy(builders.Group("leads")),
		builders.Policy("others").From(builders.User("bob")).Allowing("view").In("payments"),
		builders.Policy("elsewhere").From(builders.User("alice")).Allowing("view").In("shop"),
	} {
		w.offered, w.policies = append(w.offered, *b.Build()), append(w.policies, policy.Compile(b.Build()))
	}
	req := builders.Request("r").In("payments").By("alice", "oncall").ForClusterRole("any").Because("").Build()
	req.CreationTimestamp = metav1.NewTime(now)
	all, err := w.offers(now, req)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	if err := printOffers(&got, all); err != nil {
		t.Fatal(err)
	}
	const want = `ROLE    UP TO   POLICY   NEEDS
admin   4h      two      1 of group:leads
edit    4h      oncall   -
edit    8h      ticket   the reason must begin with INC-
view    4h      oncall   -
`
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}
