// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

// inBilling is a desk whose only request, alice's, is in another namespace than people look in.
func inBilling(t *testing.T, me string) (d *desk, server http.HandlerFunc) {
	t.Helper()
	d = newDesk(t, me)
	d.pending("first", "alice")
	d.requests[0].Namespace = "billing"
	return d, func(w http.ResponseWriter, r *http.Request) {
		_, name, one := strings.Cut(r.URL.Path, "/namespaces/payments/accessrequests/")
		switch {
		case one:
			d.answer(w, http.StatusNotFound, &metav1.Status{
				Status: metav1.StatusFailure, Reason: metav1.StatusReasonNotFound, Code: http.StatusNotFound,
				Message: `accessrequests.lapse.dev "` + name + `" not found`, Details: &metav1.StatusDetails{Name: name, Kind: requestResource},
			})
		case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/namespaces/payments/accessrequests"):
			d.answer(w, http.StatusOK, &v1alpha1.AccessRequestList{})
		default:
			d.ServeHTTP(w, r)
		}
	}
}

func TestWhatIsNotFoundIsLookedForInAllNamespaces(t *testing.T) {
	d, server := inBilling(t, "bob")
	const missing = `accessrequests.lapse.dev "first" not found in namespace payments; `
	verbs := [][]string{
		{"why", "first"},
		{"get", "first"},
		{"approve", "first"},
		{"deny", "first"},
		{"return", "first"},
		{"revoke", "first", "--reason", "x"},
		{"approve", "first", "second"},
	}
	for _, args := range verbs {
		code, _, stderr := runsAt(t, server, args...)
		if mustSay(t, stderr, missing+"one of that name is in billing: add -n billing"); code != exitFailed {
			t.Errorf("%q: exit code %d", args, code)
		}
	}
	d.refuse(requestResource)
	for _, args := range verbs {
		code, _, stderr := runsAt(t, server, args...)
		if mustSay(t, stderr, missing+"kubectl lapse get -n payments lists those that there are"); code != exitFailed {
			t.Errorf("%q, where not all may be listed: exit code %d", args, code)
		}
	}
	d.mustHaveSaid()
}

func TestNamespacesToLookInAreCutWithACount(t *testing.T) {
	for want, names := range map[string][]string{
		"a: add -n a":                        {"a"},
		"a, b, c, d, e: add -n a":            {"a", "b", "c", "d", "e"},
		"a, b, c, d, e and 2 more: add -n a": {"a", "b", "c", "d", "e", "f", "g"},
	} {
		if got := lookIn(names); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestReturnWithoutANameSaysWhereSomethingIsHeld(t *testing.T) {
	d, server := inBilling(t, "alice")
	code, _, stderr := runsAt(t, server, "return")
	mustSay(t, stderr, "you (alice) hold no access in namespace payments; kubectl lapse get --mine -n payments lists what you asked for")
	d.requests[0].Status.State = v1alpha1.StateActive
	again, _, stderr := runsAt(t, server, "return")
	mustSay(t, stderr, "you (alice) hold no access in namespace payments, but some in billing: add -n billing")
	if d.mustHaveSaid(); code != exitFailed || again != exitFailed {
		t.Errorf("exit codes %d and %d", code, again)
	}
}

func TestReturnWithoutANameNamesWhatStillWaits(t *testing.T) {
	d := newDesk(t, "alice")
	d.pending("first", "alice")
	d.pending("second", "alice")
	d.pending("others", "carol")
	code, _, stderr := runsAt(t, d.ServeHTTP, "return")
	mustSay(t, stderr, "you (alice) hold no access in namespace payments; to withdraw what is not granted yet, name it: first, second\n")
	if d.mustHaveSaid(); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
}

func TestANameThatIsTakenIsSaidToWorkOnce(t *testing.T) {
	d := newDesk(t, "alice")
	taken := func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, requestResource) {
			d.ServeHTTP(w, r)
			return
		}
		d.answer(w, http.StatusConflict, &metav1.Status{
			Status: metav1.StatusFailure, Reason: metav1.StatusReasonAlreadyExists, Code: http.StatusConflict,
			Message: `accessrequests.lapse.dev "debug" already exists`,
		})
	}
	code, _, stderr := runsAt(t, taken, "request", "edit", "--name", "debug", "--for", "1h", "--reason", "x")
	mustSay(t, stderr, `"debug" already exists in namespace payments, and a name works once; take another one, or leave --name out`)
	if code != exitFailed {
		t.Errorf("exit code %d", code)
	}
}

// without is a desk with a verb that RBAC does not allow on the requests of namespace payments.
func without(d *desk, method, verb string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method || !strings.Contains(r.URL.Path, "/namespaces/payments/"+requestResource) {
			d.ServeHTTP(w, r)
			return
		}
		d.answer(w, http.StatusForbidden, &metav1.Status{
			Status: metav1.StatusFailure, Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden,
			Message: fmt.Sprintf(`User %q cannot %s resource "accessrequests" in API group "lapse.dev" in the namespace "payments"`,
				d.me.Username, verb),
		})
	}
}

func TestWhoMayAskElsewhereIsToldWhere(t *testing.T) {
	d := newDesk(t, "alice")
	elsewhere := builders.Policy("elsewhere").From(builders.User("alice"))
	d.policies = []v1alpha1.AccessPolicy{
		*elsewhere.Allowing("edit").In("shop", "billing").Build(), *elsewhere.Allowing("view").In("web", "shop").Build(),
		*builders.Policy("others").From(builders.User("bob")).Allowing("edit").In("attic").Build(),
	}
	code, _, stderr := runsAt(t, d.ServeHTTP, "can")
	mustSay(t, stderr, "no policy offers a role to alice in namespace payments, but some do in billing, shop, web: add -n billing; "+
		"to see why for one role: kubectl lapse can ROLE")
	if code != exitRefused {
		t.Errorf("can: exit code %d", code)
	}
	const may = "error: you (alice) may not create accessrequests.lapse.dev in namespace payments; " +
		"ask a cluster admin for a RoleBinding to ClusterRole lapse-requester"
	for role, want := range map[string]string{
		"edit": may + "; policies offer you edit in billing, shop: add -n billing\n", "admin": may + "\n",
	} {
		code, _, stderr := runsAt(t, without(d, http.MethodPost, "create"), "request", role, "--for", "1h", "--reason", "INC-1")
		if code != exitFailed || stderr != want {
			t.Errorf("%s: exit code %d, %q, want %q", role, code, stderr, want)
		}
	}
}

func TestWhoMayNotReadRequestsHereIsToldWhereHeMayAsk(t *testing.T) {
	d := newDesk(t, "alice")
	d.policies = []v1alpha1.AccessPolicy{*builders.Policy("elsewhere").From(builders.User("alice")).In("shop", "billing").Build()}
	for who, more := range map[string]string{"alice": "; policies offer you something in billing, shop: add -n billing", "bob": ""} {
		d.me.Username = who
		want := "error: you (" + who + ") may not list accessrequests.lapse.dev in namespace payments; " +
			"ask a cluster admin for a RoleBinding to ClusterRole lapse-requester, lapse-approver or lapse-auditor" + more + "\n"
		for _, args := range [][]string{{"get"}, {"get", "--mine"}, {"get", "first"}} {
			code, _, stderr := runsAt(t, without(d, http.MethodGet, "list"), args...)
			if code != exitFailed || stderr != want {
				t.Errorf("%s, %q: exit code %d, %q, want %q", who, args, code, stderr, want)
			}
		}
	}
}
